import { defineConfig } from 'vitest/config'

export default defineConfig({
  // The hooks that stop a run at a step are in test builds only: see tsup.config.ts.
  define: { PIPEWORK_TEST_HOOKS: 'true' },
})
