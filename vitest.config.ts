import { defineConfig } from 'vitest/config'

// A machine that does other work takes fifty times as long: property tests ran into the five seconds that are usual.
export default defineConfig({ test: { testTimeout: 120_000 } })
