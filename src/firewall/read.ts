import type { Family } from '../model/address'
import type { System } from '../system/types'
import { parseIptablesSave } from './parse-iptables'
import { FILTERING_TABLES, opaqueFamilies, parseNftRuleset } from './parse-nft'
import type { Chain, FirewallBackend, Ruleset } from './rule'

/** Seconds that a firewall's tool may take. */
const FIREWALL_TIMEOUT = 10

type IpFamily = 'ip' | 'ip6'

type IptablesBackend = Exclude<FirewallBackend, 'nft'>

/** What a program answered; undefined where it is missing, fails or takes too long. */
async function queryProgram(argv: readonly [string, ...string[]], system: System): Promise<string | undefined> {
  if (!system.hasProgram(argv[0])) return undefined
  const { code, stdout } = await system.run(argv, FIREWALL_TIMEOUT).catch(() => ({ code: 1, stdout: '' }))
  return code === 0 ? stdout : undefined
}

/** The program of one kind of iptables: the plain name where there is no other. */
function programOf(
  { backend, family }: Pick<Chain, 'backend' | 'family'>,
  verb: 'save' | 'restore',
  system: System,
): string {
  const plain = family === 'ip6' ? 'ip6tables' : 'iptables'
  const exact = `${plain}-${backend.slice('iptables-'.length)}-${verb}`
  return system.hasProgram(exact) ? exact : `${plain}-${verb}`
}

/** The rules of one kind of iptables in one family; none where its tool is missing or fails. */
async function readSavedRuleset(backend: IptablesBackend, family: IpFamily, system: System): Promise<readonly Chain[]> {
  const text = (await queryProgram([programOf({ backend, family }, 'save', system)], system)) ?? ''
  return parseIptablesSave({ text, backend, family, tables: FILTERING_TABLES })
}

/** The rules of iptables-legacy. The kernel lists the tables that are in use, and without any nothing is loaded. */
function readLegacyRuleset(family: IpFamily, system: System): Promise<readonly Chain[]> {
  const tables = system.read(`/proc/net/${family}_tables_names`)?.split('\n') ?? []
  const isUsed = tables.some((table) => FILTERING_TABLES.includes(table))
  return isUsed ? readSavedRuleset('iptables-legacy', family, system) : Promise.resolve([])
}

/** nft shows the tables of iptables-nft as well, but of some conditions only the name: those are read again. */
async function readNftRuleset(wanted: 'comments' | 'conditions', system: System): Promise<readonly Chain[]> {
  // Terse: the elements of named sets may be many, and are not evaluated.
  const text = await queryProgram(['nft', '-j', '-t', 'list', 'ruleset'], system)
  const families = text === undefined ? (['ip', 'ip6'] as const) : opaqueFamilies(text, wanted)
  const again = (await Promise.all(families.map((family) => readSavedRuleset('iptables-nft', family, system)))).flat()
  const isAgain = (chain: Chain) => again.some((it) => it.backend === chain.backend && it.family === chain.family)
  return [...(text === undefined ? [] : parseNftRuleset(text).filter((chain) => !isAgain(chain))), ...again]
}

/** Reads all rules that what is forwarded may meet: nftables and both kinds of iptables. */
export async function readRuleset(system: System, wanted: 'comments' | 'conditions' = 'conditions'): Promise<Ruleset> {
  const parts = await Promise.all([
    readNftRuleset(wanted, system),
    readLegacyRuleset('ip', system),
    readLegacyRuleset('ip6', system),
  ])
  return parts.flat()
}

/** The table that pipework has in nftables. */
export const NFT_TABLE = { family: 'inet', name: 'pipework' } as const

/** The firewall as far as pipework writes to it for NAT and published ports. */
export interface HostFirewall {
  /** Our table of nftables, and the tables of the plain iptables that hold chains of ours. */
  readonly chains: Ruleset
  /** Whether nftables is to be written to: it is installed, and has not refused what was to be written. */
  readonly usesNft: boolean
  /** Our table as nft lists it, where it is going to be replaced. */
  readonly nftListing?: string
  /** The families in which iptables works. */
  readonly iptablesFamilies: readonly Family[]
}

/** Reads what pipework itself has in the firewall, or may add to. */
export async function readHostFirewall(system: System): Promise<HostFirewall> {
  const readTables = async (family: IpFamily): Promise<readonly Chain[] | undefined> => {
    if (!system.hasProgram(`${family}tables-restore`)) return undefined
    const text = await queryProgram([`${family}tables-save`], system)
    const backend = plainBackend(family, system) ?? 'iptables-nft'
    return text === undefined
      ? undefined
      : parseIptablesSave({ text, backend, family, tables: ['raw', 'filter', 'nat'] })
  }
  const [nftTable, chains4, chains6] = await Promise.all([
    queryProgram(['nft', '-j', 'list', 'table', NFT_TABLE.family, NFT_TABLE.name], system),
    readTables('ip'),
    readTables('ip6'),
  ])
  return {
    chains: [...(nftTable === undefined ? [] : parseNftRuleset(nftTable)), ...(chains4 ?? []), ...(chains6 ?? [])],
    usesNft: system.hasProgram('nft'),
    iptablesFamilies: [...(chains4 === undefined ? [] : [4 as const]), ...(chains6 === undefined ? [] : [6 as const])],
  }
}

/** The kind of iptables behind the plain name, where the names that it links to tell. */
function plainBackend(family: IpFamily, system: System): IptablesBackend | undefined {
  const all = (system.env.PATH ?? '').split(':').map((dir) => `${dir}/${family}tables`)
  let path = all.find((it) => system.readLink(it) !== undefined)
  for (let hops = 0; path !== undefined && hops < 4; hops += 1) {
    const kind = /(?:-|xtables-)(nft|legacy)/.exec(path)?.[1]
    if (kind !== undefined) return kind === 'nft' ? 'iptables-nft' : 'iptables-legacy'
    const target = system.readLink(path)
    path = target === undefined || target.startsWith('/') ? target : `${path.slice(0, path.lastIndexOf('/'))}/${target}`
  }
  return undefined
}

/** Names the program that changes the rules of a chain of iptables: the plain name where that is the right kind. */
export type ToolResolver = (chain: Chain) => string

/** Names the program that restores lines in the table of a chain. */
export function iptablesRestoreFor(system: System): ToolResolver {
  return (chain) => programOf(chain, 'restore', system)
}

export function iptablesToolFor(system: System): ToolResolver {
  return ({ backend, family }: Chain) => {
    const plain = family === 'ip6' ? 'ip6tables' : 'iptables'
    const kind = backend === 'iptables-legacy' ? 'iptables-legacy' : 'iptables-nft'
    const exact = `${plain}-${kind.slice('iptables-'.length)}`
    return plainBackend(family === 'ip6' ? 'ip6' : 'ip', system) === kind || !system.hasProgram(exact) ? plain : exact
  }
}
