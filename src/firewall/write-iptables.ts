import type { Family } from '../model/address'
import type { Plan, RunCommand } from '../plan/step'
import { ANY_LOCAL_ADDRESS, COMMENT_PREFIX, type FirewallRule, formatRuleComment } from './rule'

type OwnChain = 'PIPEWORK-GUARD' | 'PIPEWORK-FORWARD' | 'PIPEWORK-DNAT' | 'PIPEWORK-MASQ'

interface ChainPlacement {
  readonly table: string
  /** Whence a packet gets there: of each list, the first chain that is reached has the jump. */
  readonly parents: readonly (readonly string[])[]
  readonly actions: readonly FirewallRule['action'][]
}

/** Chains of our own. */
const OWN_CHAINS: Readonly<Record<OwnChain, ChainPlacement>> = {
  'PIPEWORK-GUARD': { table: 'raw', parents: [['PREROUTING']], actions: ['drop'] },
  'PIPEWORK-FORWARD': { table: 'filter', parents: [['DOCKER-USER', 'FORWARD']], actions: ['accept'] },
  'PIPEWORK-DNAT': { table: 'nat', parents: [['PREROUTING'], ['OUTPUT']], actions: ['dnat'] },
  'PIPEWORK-MASQ': { table: 'nat', parents: [['POSTROUTING']], actions: ['masquerade'] },
}

const OWN_CHAIN_NAMES = Object.keys(OWN_CHAINS) as OwnChain[]
const TABLE_NAMES = ['raw', 'filter', 'nat'] as const

/** A line of iptables-save: the chain, and the whole line. */
interface IptablesLine {
  readonly chain: string
  readonly text: string
}

/** What iptables-save says of one table. */
interface IptablesTable {
  readonly chains: readonly string[]
  readonly lines: readonly IptablesLine[]
}

/** What iptables-save (or ip6tables-save) says of one family, by table. */
export type IptablesTables = ReadonlyMap<string, IptablesTable>

/** Reads the output of iptables-save. */
export function parseIptablesSave(saved: string): IptablesTables {
  return new Map(
    saved
      .split(/^\*/m)
      .slice(1)
      .map((part) => {
        const [name = '', ...all] = part.split('\n')
        const chains = all.flatMap((it) => /^:(\S+)/.exec(it)?.[1] ?? [])
        const lines = all.flatMap((text) => {
          const chain = /^-A (\S+) /.exec(text)?.[1]
          return chain === undefined ? [] : [{ chain, text }]
        })
        return [name.trim(), { chains, lines }]
      }),
  )
}

/** Whether packets come by the chain: by itself, or because one of the hooks leads there. Docker's may have lost that. */
function isChainReached(chain: string, { chains, lines }: IptablesTable): boolean {
  if (!chains.includes(chain)) return false
  return chain !== 'DOCKER-USER' || lines.some((it) => it.chain === 'FORWARD' && it.text.endsWith(` -j ${chain}`))
}

const EMPTY_TABLE: IptablesTable = { chains: [], lines: [] }

const parseLineComment = (text: string) => /--comment (?:"([^"]*)"|(\S+))/.exec(text)?.slice(1).find(Boolean)

/** What we have in a table: the rules of our chains, and the jumps to them. */
interface OwnRules {
  readonly chains: ReadonlyMap<OwnChain, readonly string[]>
  readonly jumps: readonly IptablesLine[]
}

function pickOwnRules(name: string, tables: IptablesTables): OwnRules {
  const { chains, lines } = tables.get(name) ?? EMPTY_TABLE
  const ours = OWN_CHAIN_NAMES.filter((chain) => OWN_CHAINS[chain].table === name && chains.includes(chain))
  return {
    chains: new Map(ours.map((chain) => [chain, lines.filter((it) => it.chain === chain).map(({ text }) => text)])),
    jumps: lines.filter(({ text }) => OWN_CHAIN_NAMES.some((chain) => text.endsWith(` -j ${chain}`))),
  }
}

const toIptablesPorts = (ports: string) => ports.replace('-', ':')

function toIptablesArgs(rule: FirewallRule): readonly string[] {
  const { from, to, state, protocol, ports, dnatTarget } = rule
  const host = dnatTarget?.port !== undefined && rule.family === 6 ? `[${dnatTarget.ip}]` : dnatTarget?.ip
  return [
    ...(from === undefined ? [] : ['-s', from]),
    ...(to === undefined || to === ANY_LOCAL_ADDRESS ? [] : ['-d', to]),
    ...(rule.in === undefined ? [] : ['-i', rule.in]),
    ...(rule.out === undefined ? [] : ['-o', rule.out]),
    ...(rule.notOut === undefined ? [] : ['!', '-o', rule.notOut]),
    ...(protocol === undefined || ports === undefined
      ? []
      : ['-p', protocol, '-m', protocol, '--dport', toIptablesPorts(ports)]),
    ...(to === ANY_LOCAL_ADDRESS ? ['-m', 'addrtype', '--dst-type', 'LOCAL'] : []),
    ...(state === undefined ? [] : ['-m', 'conntrack', '--ctstate', state === 'sent' ? 'DNAT' : 'RELATED,ESTABLISHED']),
    ...['-m', 'comment', '--comment', `"${formatRuleComment(rule)}"`, '-j', rule.action.toUpperCase()],
    ...(host === undefined
      ? []
      : ['--to-destination', `${host}${dnatTarget?.port === undefined ? '' : `:${dnatTarget.port}`}`]),
  ]
}

function desiredRules(name: string, rules: readonly FirewallRule[], tables: IptablesTables): OwnRules {
  const table = tables.get(name) ?? EMPTY_TABLE
  const used = OWN_CHAIN_NAMES.filter((chain) => OWN_CHAINS[chain].table === name).flatMap((chain) => {
    const own = rules.filter(({ action }) => OWN_CHAINS[chain].actions.includes(action))
    return own.length === 0
      ? []
      : [[chain, own.map((rule) => `-A ${chain} ${toIptablesArgs(rule).join(' ')}`)] as const]
  })
  const jumps = used.flatMap(([chain]) =>
    OWN_CHAINS[chain].parents.map((parents) => {
      const reached = parents.filter((it) => isChainReached(it, table))
      const isThere = ({ chain: from, text }: IptablesLine) => text.endsWith(` -j ${chain}`) && reached.includes(from)
      const parent = reached[0] ?? parents.at(-1) ?? ''
      const text = `-A ${parent} -m comment --comment "${COMMENT_PREFIX}jumps to ${chain}" -j ${chain}`
      return table.lines.find(isThere) ?? { chain: parent, text }
    }),
  )
  return { chains: new Map(used), jumps }
}

/** The lines for iptables-restore that lead from one to the other, at once. */
function toRestoreLines(name: string, from: OwnRules, to: OwnRules): readonly string[] {
  const has = (own: OwnRules, { text }: IptablesLine) => own.jumps.some((it) => it.text === text)
  const gone = [...from.chains.keys()].filter((chain) => !to.chains.has(chain))
  return [
    `*${name}`,
    // With --noflush this makes a chain of our own, or empties it; all others stay as they are.
    ...[...to.chains.keys()].map((chain) => `:${chain} - [0:0]`),
    ...[...to.chains.values()].flat(),
    ...to.jumps.filter((jump) => !has(from, jump)).map(({ text }) => text.replace(/^-A/, '-I')),
    ...from.jumps.filter((jump) => !has(to, jump)).map(({ text }) => text.replace(/^-A/, '-D')),
    ...gone.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`]),
    'COMMIT',
  ]
}

const listOwnComments = ({ chains, jumps }: OwnRules) => [
  ...[...chains].flatMap(([chain, lines]) => [chain, ...lines.map(parseLineComment)]),
  ...jumps.map(({ chain, text }) => `${chain} ${text.slice(text.lastIndexOf(' ') + 1)}`).sort(),
]

const isSameOwnRules = (a: OwnRules, b: OwnRules) => listOwnComments(a).join('\n') === listOwnComments(b).join('\n')

function restoreCommand(family: Family, lines: readonly string[]): RunCommand {
  return {
    kind: 'run',
    in: 'host',
    argv: [family === 4 ? 'iptables-restore' : 'ip6tables-restore', '--wait', '10', '--noflush'],
    input: lines.join('\n'),
  }
}

/** The comments of the rules that take effect: those in chains of ours that are jumped to. */
export function listIptablesComments(tables: IptablesTables): readonly string[] {
  return TABLE_NAMES.flatMap((name) => {
    const { chains, jumps } = pickOwnRules(name, tables)
    const table = tables.get(name) ?? EMPTY_TABLE
    const isUsed = (chain: OwnChain) =>
      OWN_CHAINS[chain].parents.every((parents) =>
        jumps.some(
          (jump) =>
            jump.text.endsWith(` -j ${chain}`) && parents.includes(jump.chain) && isChainReached(jump.chain, table),
        ),
      )
    return [...chains]
      .filter(([chain]) => isUsed(chain))
      .flatMap(([, lines]) => lines.map((it) => parseLineComment(it) ?? ''))
  })
}

/** The step that makes our chains of one family hold these rules and no others; none where they do. */
export function planIptables(family: Family, rules: readonly FirewallRule[], tables: IptablesTables): Plan {
  const changes = TABLE_NAMES.map((name) => ({
    name,
    live: pickOwnRules(name, tables),
    wanted: desiredRules(name, rules, tables),
  })).filter(({ live, wanted }) => !isSameOwnRules(live, wanted))
  if (changes.length === 0) return []
  return [
    {
      description: `write the chains of pipework in iptables for IPv${family}`,
      command: restoreCommand(
        family,
        changes.flatMap(({ name, live, wanted }) => toRestoreLines(name, live, wanted)),
      ),
      undo: restoreCommand(
        family,
        changes.flatMap(({ name, live, wanted }) => toRestoreLines(name, wanted, live)),
      ),
    },
  ]
}
