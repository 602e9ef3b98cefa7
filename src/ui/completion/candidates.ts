import type { System } from '../../system/types'
import type { CommandTable } from '../command-spec'
import type { CompletionItem } from './candidate'
import { type CursorContext, listAvailableOptions, parseCursor } from './cursor'

/** The answer to a shell: words, file names, or a handover to another program's completion from a given word on. */
export type Completion =
  | { readonly kind: 'words'; readonly candidates: readonly CompletionItem[] }
  | { readonly kind: 'files' }
  | { readonly kind: 'handover'; readonly from: number; readonly words: readonly string[] }

/** The words up to the cursor, and what completes them. */
export interface CompletionRequest {
  /** The words after `pipework`, before the cursor's word. */
  readonly wordsBefore: readonly string[]
  /** The word at the cursor, as typed so far. */
  readonly currentWord: string
  readonly table: CommandTable
  readonly system: System
}

/** The candidates at the cursor. Changes nothing, and waits only briefly. */
export async function completeCommandLine({
  wordsBefore,
  currentWord,
  table,
  system,
}: CompletionRequest): Promise<Completion> {
  const position = parseCursor(wordsBefore, currentWord, table)
  const { target, prefix, current } = position
  if (target.kind === 'handover') return target
  const found = await findItems(position, { table, system })
  if (found === 'files') return { kind: 'files' }
  const fits = found.filter(({ value }) => value.startsWith(current))
  return { kind: 'words', candidates: fits.map((it) => ({ ...it, value: `${prefix}${it.value}` })) }
}

/** Each kind of word loads its own reader: completing an option reads nothing from the host. */
async function findItems(position: CursorContext, { table, system }: Pick<CompletionRequest, 'table' | 'system'>) {
  const { target } = position
  if (target.kind === 'options') return listOptionItems(position, table)
  if (target.kind === 'first') return (await import('./interfaces')).listFirstWords(position.current, { table, system })
  return (await import('./values')).listCompletionValues(position, { table, system })
}

/** Options that apply only to a NIC, or only to a bridge. */
const NIC_ONLY = ['kind', 'mode', 'direct-phys', 'host-access']
const BRIDGE_ONLY = ['vlan-filtering', 'tx-offload', 'bridge-address', 'firewall', 'strict']

function listOptionItems({ command, words, values }: CursorContext, table: CommandTable): readonly CompletionItem[] {
  const options = listAvailableOptions(table, words.length === 0 && command.word === '' ? undefined : command)
  const [hostif = ''] = command.word === '' ? words : []
  const odd = /^(br|ovs)/.test(hostif) ? NIC_ONLY : /^(mac:|eth|en|wl|ib)/.test(hostif) ? BRIDGE_ONLY : []
  return Object.entries(options).flatMap(([name, { describe, array }]) =>
    odd.includes(name) || (values.has(name) && array !== true)
      ? []
      : [{ value: name.length === 1 ? `-${name}` : `--${name}`, text: describe }],
  )
}
