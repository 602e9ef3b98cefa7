import type { System } from '../system/types'
import { parseSavedRuleset } from './parse-iptables'
import { opaqueFamilies, parseNftRuleset } from './parse-nft'
import { type FirewallBackend, IPTABLES_TABLES, type ParsedChain, type Ruleset } from './ruleset'

/** Seconds that a firewall's tool may take: nobody waits longer for a warning. */
const FIREWALL_TIMEOUT = 10

/** The rules of one kind of iptables in one family; none where its tool is missing or fails. */
async function readSavedRuleset(
  backend: Exclude<FirewallBackend, 'nft'>,
  family: 'ip' | 'ip6',
  system: System,
): Promise<readonly ParsedChain[]> {
  const start = `${family}tables`
  const program = [`${start}-${backend.slice('iptables-'.length)}-save`, `${start}-save`].find((it) =>
    system.hasProgram(it),
  )
  if (program === undefined) return []
  const { code, stdout } = await system.query([program], FIREWALL_TIMEOUT).catch(() => ({ code: 1, stdout: '' }))
  return code === 0 ? parseSavedRuleset({ text: stdout, backend, family }) : []
}

/** The old iptables: the kernel lists its tables while there are any, and nobody asks where there are none. */
function readLegacyRuleset(family: 'ip' | 'ip6', system: System): Promise<readonly ParsedChain[]> {
  const tables = system.read(`/proc/net/${family}_tables_names`)?.split('\n') ?? []
  const isUsed = tables.some((table) => IPTABLES_TABLES.includes(table))
  return isUsed ? readSavedRuleset('iptables-legacy', family, system) : Promise.resolve([])
}

/** nft shows the tables of iptables-nft as well, but of some conditions only the name: those are asked for again. */
async function readNftRuleset(wanted: 'comments' | 'conditions', system: System): Promise<readonly ParsedChain[]> {
  // Terse: what stands in named sets is not evaluated, and may be long.
  const { code, stdout } = system.hasProgram('nft')
    ? await system
        .query(['nft', '-j', '-t', 'list', 'ruleset'], FIREWALL_TIMEOUT)
        .catch(() => ({ code: 1, stdout: '' }))
    : { code: 1, stdout: '' }
  const families = code === 0 ? opaqueFamilies(stdout, wanted) : (['ip', 'ip6'] as const)
  const again = (await Promise.all(families.map((family) => readSavedRuleset('iptables-nft', family, system)))).flat()
  const isAgain = (chain: ParsedChain) => again.some((it) => it.backend === chain.backend && it.family === chain.family)
  return [...(code === 0 ? parseNftRuleset(stdout).filter((chain) => !isAgain(chain)) : []), ...again]
}

/** The rules that a frame may meet: nftables and both kinds of iptables, asked side by side. */
export async function readRuleset(system: System, wanted: 'comments' | 'conditions' = 'conditions'): Promise<Ruleset> {
  const parts = await Promise.all([
    readNftRuleset(wanted, system),
    readLegacyRuleset('ip', system),
    readLegacyRuleset('ip6', system),
  ])
  return parts.flat()
}
