import type { Family } from '../model/address'
import type { Plan, RunCommand } from '../plan/step'
import { ANY_LOCAL, COMMENT, commentOf, type Rule } from './rule'

type Chain = 'PIPEWORK-GUARD' | 'PIPEWORK-FORWARD' | 'PIPEWORK-DNAT' | 'PIPEWORK-MASQ'

interface Place {
  readonly table: string
  /** Whence a packet gets there: of each list, the first chain that is reached has the jump. */
  readonly parents: readonly (readonly string[])[]
  readonly acts: readonly Rule['act'][]
}

/** Chains of our own. */
const CHAINS: Readonly<Record<Chain, Place>> = {
  'PIPEWORK-GUARD': { table: 'raw', parents: [['PREROUTING']], acts: ['drop'] },
  'PIPEWORK-FORWARD': { table: 'filter', parents: [['DOCKER-USER', 'FORWARD']], acts: ['accept'] },
  'PIPEWORK-DNAT': { table: 'nat', parents: [['PREROUTING'], ['OUTPUT']], acts: ['dnat'] },
  'PIPEWORK-MASQ': { table: 'nat', parents: [['POSTROUTING']], acts: ['masquerade'] },
}

const NAMES = Object.keys(CHAINS) as Chain[]
const TABLES = ['raw', 'filter', 'nat'] as const

/** A line of iptables-save: the chain, and the whole line. */
interface Line {
  readonly chain: string
  readonly text: string
}

/** What iptables-save says of one table. */
interface Table {
  readonly chains: readonly string[]
  readonly lines: readonly Line[]
}

/** What iptables-save (or ip6tables-save) says of one family, by table. */
export type Tables = ReadonlyMap<string, Table>

/** Reads the output of iptables-save. */
export function parseTables(saved: string): Tables {
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
function isReached(chain: string, { chains, lines }: Table): boolean {
  if (!chains.includes(chain)) return false
  return chain !== 'DOCKER-USER' || lines.some((it) => it.chain === 'FORWARD' && it.text.endsWith(` -j ${chain}`))
}

const NO_TABLE: Table = { chains: [], lines: [] }

const commentIn = (text: string) => /--comment (?:"([^"]*)"|(\S+))/.exec(text)?.slice(1).find(Boolean)

/** What we have in a table: the rules of our chains, and the jumps to them. */
interface Own {
  readonly chains: ReadonlyMap<Chain, readonly string[]>
  readonly jumps: readonly Line[]
}

function ownIn(name: string, tables: Tables): Own {
  const { chains, lines } = tables.get(name) ?? NO_TABLE
  const ours = NAMES.filter((chain) => CHAINS[chain].table === name && chains.includes(chain))
  return {
    chains: new Map(ours.map((chain) => [chain, lines.filter((it) => it.chain === chain).map(({ text }) => text)])),
    jumps: lines.filter(({ text }) => NAMES.some((chain) => text.endsWith(` -j ${chain}`))),
  }
}

const toPorts = (ports: string) => ports.replace('-', ':')

function toWords(rule: Rule): readonly string[] {
  const { from, to, state, protocol, ports, target } = rule
  const host = target?.port !== undefined && rule.family === 6 ? `[${target.ip}]` : target?.ip
  return [
    ...(from === undefined ? [] : ['-s', from]),
    ...(to === undefined || to === ANY_LOCAL ? [] : ['-d', to]),
    ...(rule.in === undefined ? [] : ['-i', rule.in]),
    ...(rule.out === undefined ? [] : ['-o', rule.out]),
    ...(rule.notOut === undefined ? [] : ['!', '-o', rule.notOut]),
    ...(protocol === undefined || ports === undefined
      ? []
      : ['-p', protocol, '-m', protocol, '--dport', toPorts(ports)]),
    ...(to === ANY_LOCAL ? ['-m', 'addrtype', '--dst-type', 'LOCAL'] : []),
    ...(state === undefined ? [] : ['-m', 'conntrack', '--ctstate', state === 'sent' ? 'DNAT' : 'RELATED,ESTABLISHED']),
    ...['-m', 'comment', '--comment', `"${commentOf(rule)}"`, '-j', rule.act.toUpperCase()],
    ...(host === undefined
      ? []
      : ['--to-destination', `${host}${target?.port === undefined ? '' : `:${target.port}`}`]),
  ]
}

function wantIn(name: string, rules: readonly Rule[], tables: Tables): Own {
  const table = tables.get(name) ?? NO_TABLE
  const used = NAMES.filter((chain) => CHAINS[chain].table === name).flatMap((chain) => {
    const own = rules.filter(({ act }) => CHAINS[chain].acts.includes(act))
    return own.length === 0 ? [] : [[chain, own.map((rule) => `-A ${chain} ${toWords(rule).join(' ')}`)] as const]
  })
  const jumps = used.flatMap(([chain]) =>
    CHAINS[chain].parents.map((parents) => {
      const reached = parents.filter((it) => isReached(it, table))
      const isThere = ({ chain: from, text }: Line) => text.endsWith(` -j ${chain}`) && reached.includes(from)
      const parent = reached[0] ?? parents.at(-1) ?? ''
      const text = `-A ${parent} -m comment --comment "${COMMENT}jumps to ${chain}" -j ${chain}`
      return table.lines.find(isThere) ?? { chain: parent, text }
    }),
  )
  return { chains: new Map(used), jumps }
}

/** The lines for iptables-restore that lead from one to the other, at once. */
function toLines(name: string, from: Own, to: Own): readonly string[] {
  const has = (own: Own, { text }: Line) => own.jumps.some((it) => it.text === text)
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

const commentsOf = ({ chains, jumps }: Own) => [
  ...[...chains].flatMap(([chain, lines]) => [chain, ...lines.map(commentIn)]),
  ...jumps.map(({ chain, text }) => `${chain} ${text.slice(text.lastIndexOf(' ') + 1)}`).sort(),
]

const isSame = (a: Own, b: Own) => commentsOf(a).join('\n') === commentsOf(b).join('\n')

function restore(family: Family, lines: readonly string[]): RunCommand {
  return {
    kind: 'run',
    in: 'host',
    argv: [family === 4 ? 'iptables-restore' : 'ip6tables-restore', '--wait', '10', '--noflush'],
    input: lines.join('\n'),
  }
}

/** The comments of the rules that take effect: those in chains of ours that are jumped to. */
export function listComments(tables: Tables): readonly string[] {
  return TABLES.flatMap((name) => {
    const { chains, jumps } = ownIn(name, tables)
    const table = tables.get(name) ?? NO_TABLE
    const isUsed = (chain: Chain) =>
      CHAINS[chain].parents.every((parents) =>
        jumps.some(
          (jump) => jump.text.endsWith(` -j ${chain}`) && parents.includes(jump.chain) && isReached(jump.chain, table),
        ),
      )
    return [...chains].filter(([chain]) => isUsed(chain)).flatMap(([, lines]) => lines.map((it) => commentIn(it) ?? ''))
  })
}

/** The step that makes our chains of one family hold these rules and no others; none where they do. */
export function planTables(family: Family, rules: readonly Rule[], tables: Tables): Plan {
  const changes = TABLES.map((name) => ({
    name,
    live: ownIn(name, tables),
    wanted: wantIn(name, rules, tables),
  })).filter(({ live, wanted }) => !isSame(live, wanted))
  if (changes.length === 0) return []
  return [
    {
      why: `write the chains of pipework in iptables for IPv${family}`,
      command: restore(
        family,
        changes.flatMap(({ name, live, wanted }) => toLines(name, live, wanted)),
      ),
      undo: restore(
        family,
        changes.flatMap(({ name, live, wanted }) => toLines(name, wanted, live)),
      ),
    },
  ]
}
