import type { Host } from '../system/types'
import { parseSaved } from './parse-iptables'
import { opaqueFamilies, parseNft } from './parse-nft'
import { type Backend, type Chain, IPTABLES_TABLES, type Ruleset } from './ruleset'

/** Seconds that a firewall's tool may take: nobody waits longer for a warning. */
const LIMIT = 10

/** The rules of one kind of iptables in one family; none where its tool is missing or fails. */
async function readSaved(
  backend: Exclude<Backend, 'nft'>,
  family: 'ip' | 'ip6',
  host: Host,
): Promise<readonly Chain[]> {
  const start = `${family}tables`
  const program = [`${start}-${backend.slice('iptables-'.length)}-save`, `${start}-save`].find((it) => host.has(it))
  if (program === undefined) return []
  const { code, stdout } = await host.query([program], LIMIT).catch(() => ({ code: 1, stdout: '' }))
  return code === 0 ? parseSaved({ text: stdout, backend, family }) : []
}

/** The old iptables: the kernel lists its tables while there are any, and nobody asks where there are none. */
function readLegacy(family: 'ip' | 'ip6', host: Host): Promise<readonly Chain[]> {
  const tables = host.read(`/proc/net/${family}_tables_names`)?.split('\n') ?? []
  const isUsed = tables.some((table) => IPTABLES_TABLES.includes(table))
  return isUsed ? readSaved('iptables-legacy', family, host) : Promise.resolve([])
}

/** nft shows the tables of iptables-nft as well, but of some conditions only the name: those are asked for again. */
async function readNft(wanted: 'comments' | 'conditions', host: Host): Promise<readonly Chain[]> {
  // Terse: what stands in named sets is not evaluated, and may be long.
  const { code, stdout } = host.has('nft')
    ? await host.query(['nft', '-j', '-t', 'list', 'ruleset'], LIMIT).catch(() => ({ code: 1, stdout: '' }))
    : { code: 1, stdout: '' }
  const families = code === 0 ? opaqueFamilies(stdout, wanted) : (['ip', 'ip6'] as const)
  const again = (await Promise.all(families.map((family) => readSaved('iptables-nft', family, host)))).flat()
  const isAgain = (chain: Chain) => again.some((it) => it.backend === chain.backend && it.family === chain.family)
  return [...(code === 0 ? parseNft(stdout).filter((chain) => !isAgain(chain)) : []), ...again]
}

/** The rules that a frame may meet: nftables and both kinds of iptables, asked side by side. */
export async function readRuleset(host: Host, wanted: 'comments' | 'conditions' = 'conditions'): Promise<Ruleset> {
  const parts = await Promise.all([readNft(wanted, host), readLegacy('ip', host), readLegacy('ip6', host)])
  return parts.flat()
}
