import type { Host } from '../../system/types'
import type { CommandTable } from '../command'
import type { Candidate } from './candidate'
import { locate, optionsOf, type Position } from './cursor'

/** What a shell is told: words to offer, that it should offer files, or whose completion goes on from a word. */
export type Completion =
  | { readonly kind: 'words'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'files' }
  | { readonly kind: 'handover'; readonly from: number; readonly words: readonly string[] }

/** The words up to the cursor, and what is asked to complete them. */
export interface Prompt {
  /** What stands after `pipework`, up to the cursor's word. */
  readonly before: readonly string[]
  /** The word at the cursor, as far as it is written. */
  readonly at: string
  readonly table: CommandTable
  readonly host: Host
}

/** What makes sense at the cursor. Changes nothing, and waits for nobody longer than a moment. */
export async function complete({ before, at, table, host }: Prompt): Promise<Completion> {
  const position = locate(before, at, table)
  const { wanted, prefix, current } = position
  if (wanted.kind === 'handover') return wanted
  const found = await find(position, { table, host })
  if (found === 'files') return { kind: 'files' }
  const fits = found.filter(({ value }) => value.startsWith(current))
  return { kind: 'words', candidates: fits.map((it) => ({ ...it, value: `${prefix}${it.value}` })) }
}

/** Each kind of word loads what finds it: a TAB at an option asks nobody and reads nothing. */
async function find(position: Position, { table, host }: Pick<Prompt, 'table' | 'host'>) {
  const { wanted } = position
  if (wanted.kind === 'options') return listOptions(position, table)
  if (wanted.kind === 'first') return (await import('./interfaces')).listFirst(position.current, { table, host })
  return (await import('./values')).listFound(position, { table, host })
}

/** Options that make sense on a NIC alone, and on a bridge alone. */
const NIC_ONLY = ['kind', 'mode', 'direct-phys', 'host-access']
const BRIDGE_ONLY = ['vlan-filtering', 'tx-offload', 'bridge-address', 'firewall', 'strict']

function listOptions({ command, words, values }: Position, table: CommandTable): readonly Candidate[] {
  const options = optionsOf(table, words.length === 0 && command.word === '' ? undefined : command)
  const [hostif = ''] = command.word === '' ? words : []
  const odd = /^(br|ovs)/.test(hostif) ? NIC_ONLY : /^(mac:|eth|en|wl|ib)/.test(hostif) ? BRIDGE_ONLY : []
  return Object.entries(options).flatMap(([name, { summary, repeatable }]) =>
    odd.includes(name) || (values.has(name) && repeatable !== true)
      ? []
      : [{ value: name.length === 1 ? `-${name}` : `--${name}`, text: summary }],
  )
}
