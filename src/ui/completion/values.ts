import { formatAddress } from '../../model/address'
import { SHARE_MODES } from '../../model/attach-options'
import { DHCP_CLIENTS } from '../../model/dhcp-options'
import { formatGuest, type LinkRecord } from '../../state/record'
import { readSubnets } from '../../state/subnets'
import type { System } from '../../system/types'
import type { CommandTable } from '../command-spec'
import type { CompletionItem } from './candidate'
import type { CursorContext } from './cursor'
import { suggestAddresses } from './free-address'
import type { SynopsisSlot } from './grammar'
import { listHostInterfaces } from './interfaces'
import { listAttachedGuests, listHostRecords, toGuestItems } from './records'

interface CompletionContext {
  readonly table: CommandTable
  readonly system: System
}

type CompletionValues = readonly CompletionItem[] | 'files'

/** The values on the host for the words and options at a position. */
export async function listCompletionValues(
  position: CursorContext,
  means: CompletionContext,
): Promise<CompletionValues> {
  const { target } = position
  if (target.kind === 'value') return listOptionValues(position, means)
  return target.kind === 'words' ? listSlotValues(target.slots, position, means) : []
}

const toItems = (values: readonly string[], text = ''): readonly CompletionItem[] =>
  values.map((value) => ({ value, text }))

/** Sample values by their name in the table. */
const SAMPLE_VALUES: Readonly<Record<string, readonly string[]>> = {
  seconds: ['5', '10', '30', '60'],
  bytes: ['1500', '1400', '9000'],
  number: ['100', '200'],
  family: ['4', '6', 'inet', 'inet6'],
  template: ['{{.Guest}}', '{{json .}}'],
}

async function listOptionValues(position: CursorContext, means: CompletionContext): Promise<CompletionValues> {
  if (position.target.kind !== 'value') return []
  const { spec, option } = position.target
  const name = spec.placeholder ?? ''
  if (name === 'ifname') return listFreeIfnames(position, means.system)
  if (name === 'mode') return toItems(SHARE_MODES[position.values.get('kind') === 'ipvlan' ? 'ipvlan' : 'macvlan'])
  if (option === 'filter') return listFilterItems(position, means.system)
  if (/^(file|path)/.test(name)) return 'files'
  if (name === 'out-interface') return listLinkItems('nic', means.system)
  if (spec.choices !== undefined) return toItems(spec.choices)
  if (/^[\w.-]+(\|[\w.-]+)+$/.test(name)) return toItems(name.split('|'))
  return toItems(SAMPLE_VALUES[name] ?? [])
}

function listFilterItems({ current }: CursorContext, system: System): readonly CompletionItem[] {
  if (current.startsWith('guest='))
    return listAttachedGuests(system).map((it) => ({ ...it, value: `guest=${it.value}` }))
  if (!current.startsWith('bridge=')) return toItems(['guest=', 'bridge='])
  return toItems([...new Set(listHostRecords(system).map(({ hostif }) => `bridge=${hostif}`))])
}

async function listSlotValues(
  slots: readonly SynopsisSlot[],
  position: CursorContext,
  means: CompletionContext,
): Promise<CompletionValues> {
  const found = await Promise.all(slots.map((slot) => listOneSlot(slot, position, means)))
  return found.includes('files') ? 'files' : found.flatMap((it) => (it === 'files' ? [] : it))
}

async function listOneSlot(
  slot: SynopsisSlot,
  position: CursorContext,
  means: CompletionContext,
): Promise<CompletionValues> {
  const { system, table } = means
  if (slot.kind === 'literal') return toItems(slot.words)
  const { name } = slot
  if (name === 'guest') return listGuestItems(position, system)
  if (name === 'ifname') return listAttachedIfnames(position, system)
  if (name === 'ip') return listAddressItems(position, system)
  if (name === 'command') return table.commands.filter(({ hidden }) => !hidden).flatMap(toCommandItems)
  if (/^(bridge|nic)/.test(name)) return listLinkItems(name, system)
  return /^(file|path)/.test(name) ? 'files' : []
}

function toCommandItems({ word, describe }: CommandTable['commands'][number]): readonly CompletionItem[] {
  return word === '' ? [] : [{ value: word, text: describe }]
}

async function listLinkItems(name: string, system: System): Promise<readonly CompletionItem[]> {
  const { bridges, nics } = await listHostInterfaces(system)
  return name.startsWith('bridge') ? bridges : nics
}

/** Commands that only make sense for guests with attachments. */
const ATTACHED_ONLY_COMMANDS = ['disconnect', 'ls', 'inspect']

async function listGuestItems(
  { command, values, current }: CursorContext,
  system: System,
): Promise<readonly CompletionItem[]> {
  if (ATTACHED_ONLY_COMMANDS.includes(command.word))
    return system.isRoot ? toGuestItems(await listAllRecords(system)) : listAttachedGuests(system)
  const { completeGuests } = await import('./guests')
  return completeGuests({ typed: current, stopped: values.has('wait-guest') ? 'with' : 'without' }, system)
}

/** Includes records in guests: a macvlan has no host end. */
async function listAllRecords(system: System): Promise<readonly LinkRecord[]> {
  try {
    const { readAttachments } = await import('../../state/attachments')
    return (await readAttachments(system)).map(({ record }) => record)
  } catch {
    return listHostRecords(system)
  }
}

async function listAttachedIfnames({ words }: CursorContext, system: System): Promise<readonly CompletionItem[]> {
  const [guest = ''] = words
  const records = (await listAllRecords(system)).filter((it) => isRecordOfGuest(it, guest))
  return records.map(({ ifname, hostif, addresses }) => ({
    value: ifname,
    text: [`on ${hostif}`, ...(addresses ?? []).map(formatAddress)].join(', '),
  }))
}

function isRecordOfGuest({ guest }: LinkRecord, typed: string): boolean {
  return formatGuest(guest) === typed || `${guest.kind}:${guest.name}` === typed || guest.id === typed
}

/** The next free interface name in the guest, then the names of interfaces that can be changed in place. */
async function listFreeIfnames({ command, words }: CursorContext, system: System): Promise<readonly CompletionItem[]> {
  if (command.word !== '')
    return (system.list('/sys/class/net') ?? []).filter((it) => it !== 'lo').map((value) => ({ value, text: '' }))
  const [, guest] = words
  if (guest === undefined) return toItems(['eth1', 'eth2', 'eth3'])
  const own = listHostRecords(system).filter((it) => isRecordOfGuest(it, guest))
  const { listGuestIfnames } = await import('./guests')
  const there = [...((await listGuestIfnames(guest, system)) ?? []), ...own.map(({ ifname }) => ifname)]
  const free = Array.from({ length: there.length + 1 }, (_, index) => `eth${index + 1}`).find(
    (it) => !there.includes(it),
  )
  return [
    ...(free === undefined ? [] : [{ value: free, text: `free in ${guest}` }]),
    ...own.map(({ ifname, hostif }) => ({ value: ifname, text: `is on ${hostif}: changed in place` })),
  ]
}

/** The address sources whose programs are installed. */
function listAddressSources(system: System): readonly CompletionItem[] {
  const clients = DHCP_CLIENTS.filter(
    (it) => system.hasProgram(it) || (it === 'udhcpc' && system.hasProgram('busybox')),
  )
  return [
    { value: 'dhcp', text: 'DHCP, by the first client that is installed' },
    ...clients.map((value) => ({ value, text: `DHCP, by ${value}` })),
    ...(clients.includes('dhclient') ? [{ value: 'dhcp6', text: 'DHCP for IPv6' }] : []),
    { value: 'slaac', text: "IPv6, as the router's advertisements say" },
  ]
}

async function listAddressItems({ words, current }: CursorContext, system: System): Promise<readonly CompletionItem[]> {
  const [hostif = ''] = words
  const start = current.slice(0, current.lastIndexOf(',') + 1)
  // Links on a NIC have no host end: the record is in the guest.
  const isNic =
    system.inode(`/sys/class/net/${hostif}`) !== undefined &&
    system.inode(`/sys/class/net/${hostif}/bridge`) === undefined
  const records = isNic ? await listAllRecords(system) : listHostRecords(system)
  const recorded = records.filter((it) => it.hostif === hostif).flatMap(({ addresses }) => addresses ?? [])
  const suggested = suggestAddresses({ hostif, subnets: readSubnets(system), recorded })
  const free = suggested.map((value) => ({ value: `${start}${value}`, text: `the next free address on ${hostif}` }))
  const leases = listAddressSources(system)
  const other = start === '' ? [{ value: '0/0', text: 'no address' }] : []
  return [...free, ...leases.map((it) => ({ ...it, value: `${start}${it.value}` })), ...other]
}
