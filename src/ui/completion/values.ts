import { formatAddress } from '../../model/address'
import { DHCP_CLIENTS } from '../../model/address-sources'
import { SHARE_MODES } from '../../model/attach-options'
import { formatGuest, type LinkRecord } from '../../state/record'
import type { Host } from '../../system/types'
import type { CommandTable } from '../command'
import type { Candidate } from './candidate'
import type { Position } from './cursor'
import { suggestAddresses } from './free-address'
import type { Slot } from './grammar'
import { listHostIfs } from './interfaces'
import { listAttached, listRecords, toGuests } from './records'
import { readSubnets } from './subnets'

interface Means {
  readonly table: CommandTable
  readonly host: Host
}

type Found = readonly Candidate[] | 'files'

/** What can be found on the host for the words and values that a position asks for. */
export async function listFound(position: Position, means: Means): Promise<Found> {
  const { wanted } = position
  if (wanted.kind === 'value') return listValues(position, means)
  return wanted.kind === 'words' ? listSlots(wanted.slots, position, means) : []
}

const plain = (values: readonly string[], text = ''): readonly Candidate[] => values.map((value) => ({ value, text }))

/** Suggestions for values that are called so in the table. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  seconds: ['5', '10', '30', '60'],
  bytes: ['1500', '1400', '9000'],
  number: ['100', '200'],
  family: ['4', '6', 'inet', 'inet6'],
  template: ['{{.Guest}}', '{{json .}}'],
}

async function listValues(position: Position, means: Means): Promise<Found> {
  if (position.wanted.kind !== 'value') return []
  const { spec, option } = position.wanted
  const name = spec.value ?? ''
  if (name === 'ifname') return listIfnames(position, means.host)
  if (name === 'mode') return plain(SHARE_MODES[position.values.get('kind') === 'ipvlan' ? 'ipvlan' : 'macvlan'])
  if (option === 'filter') return listFilters(position, means.host)
  if (/^(file|path)/.test(name)) return 'files'
  if (name === 'out-interface') return listLinks('nic', means.host)
  if (/^[\w.-]+(\|[\w.-]+)+$/.test(name)) return plain(name.split('|'))
  return plain(VALUES[name] ?? [])
}

function listFilters({ current }: Position, host: Host): readonly Candidate[] {
  if (current.startsWith('guest=')) return listAttached(host).map((it) => ({ ...it, value: `guest=${it.value}` }))
  if (!current.startsWith('bridge=')) return plain(['guest=', 'bridge='])
  return plain([...new Set(listRecords(host).map(({ hostif }) => `bridge=${hostif}`))])
}

async function listSlots(slots: readonly Slot[], position: Position, means: Means): Promise<Found> {
  const found = await Promise.all(slots.map((slot) => listSlot(slot, position, means)))
  return found.includes('files') ? 'files' : found.flatMap((it) => (it === 'files' ? [] : it))
}

async function listSlot(slot: Slot, position: Position, means: Means): Promise<Found> {
  const { host, table } = means
  if (slot.kind === 'literal') return plain(slot.words)
  const { name } = slot
  if (name === 'guest') return findGuests(position, host)
  if (name === 'ifname') return listAttachedIfnames(position, host)
  if (name === 'ip') return listAddresses(position, host)
  if (name === 'command') return table.commands.filter(({ hidden }) => !hidden).flatMap(toCommandCandidate)
  if (/^(bridge|nic)/.test(name)) return listLinks(name, host)
  return /^(file|path)/.test(name) ? 'files' : []
}

function toCommandCandidate({ word, summary }: CommandTable['commands'][number]): readonly Candidate[] {
  return word === '' ? [] : [{ value: word, text: summary }]
}

async function listLinks(name: string, host: Host): Promise<readonly Candidate[]> {
  const { bridges, nics } = await listHostIfs(host)
  return name.startsWith('bridge') ? bridges : nics
}

/** Commands that only make sense for what is attached already. */
const OF_ATTACHED = ['disconnect', 'ls', 'inspect']

async function findGuests({ command, values, current }: Position, host: Host): Promise<readonly Candidate[]> {
  if (OF_ATTACHED.includes(command.word)) return host.isRoot ? toGuests(await listAllRecords(host)) : listAttached(host)
  const { listGuests } = await import('./guests')
  return listGuests({ typed: current, stopped: values.has('wait-guest') ? 'with' : 'without' }, host)
}

/** Those of links in guests as well: a macvlan has no end in the host. */
async function listAllRecords(host: Host): Promise<readonly LinkRecord[]> {
  try {
    const { readAttachments } = await import('../../state/attachments')
    return (await readAttachments(host)).map(({ record }) => record)
  } catch {
    return listRecords(host)
  }
}

async function listAttachedIfnames({ words }: Position, host: Host): Promise<readonly Candidate[]> {
  const [guest = ''] = words
  const records = (await listAllRecords(host)).filter((it) => isOf(it, guest))
  return records.map(({ ifname, hostif, addresses }) => ({
    value: ifname,
    text: [`on ${hostif}`, ...(addresses ?? []).map(formatAddress)].join(', '),
  }))
}

function isOf({ guest }: LinkRecord, typed: string): boolean {
  return formatGuest(guest) === typed || `${guest.kind}:${guest.name}` === typed || guest.id === typed
}

/** The next name that is free in the guest, then those that can be changed in place. */
async function listIfnames({ command, words }: Position, host: Host): Promise<readonly Candidate[]> {
  if (command.word !== '')
    return (host.list('/sys/class/net') ?? []).filter((it) => it !== 'lo').map((value) => ({ value, text: '' }))
  const [, guest] = words
  if (guest === undefined) return plain(['eth1', 'eth2', 'eth3'])
  const own = listRecords(host).filter((it) => isOf(it, guest))
  const { listInterfaces } = await import('./guests')
  const there = [...((await listInterfaces(guest, host)) ?? []), ...own.map(({ ifname }) => ifname)]
  const free = Array.from({ length: there.length + 1 }, (_, index) => `eth${index + 1}`).find(
    (it) => !there.includes(it),
  )
  return [
    ...(free === undefined ? [] : [{ value: free, text: `free in ${guest}` }]),
    ...own.map(({ ifname, hostif }) => ({ value: ifname, text: `is on ${hostif}: changed in place` })),
  ]
}

/** The words that ask for an address from elsewhere, as far as what they need is installed. */
function listSources(host: Host): readonly Candidate[] {
  const clients = DHCP_CLIENTS.filter((it) => host.has(it) || (it === 'udhcpc' && host.has('busybox')))
  return [
    { value: 'dhcp', text: 'DHCP, by the first client that is installed' },
    ...clients.map((value) => ({ value, text: `DHCP, by ${value}` })),
    ...(clients.includes('dhclient') ? [{ value: 'dhcp6', text: 'DHCP for IPv6' }] : []),
    { value: 'slaac', text: "IPv6, as the router's advertisements say" },
  ]
}

async function listAddresses({ words, current }: Position, host: Host): Promise<readonly Candidate[]> {
  const [hostif = ''] = words
  const start = current.slice(0, current.lastIndexOf(',') + 1)
  // What hangs on a NIC has no end in the host: its record is in the guest.
  const isNic =
    host.inode(`/sys/class/net/${hostif}`) !== undefined && host.inode(`/sys/class/net/${hostif}/bridge`) === undefined
  const records = isNic ? await listAllRecords(host) : listRecords(host)
  const recorded = records.filter((it) => it.hostif === hostif).flatMap(({ addresses }) => addresses ?? [])
  const suggested = suggestAddresses({ hostif, subnets: readSubnets(host), recorded })
  const free = suggested.map((value) => ({ value: `${start}${value}`, text: `the next free address on ${hostif}` }))
  const leases = listSources(host)
  const other = start === '' ? [{ value: '0/0', text: 'no address' }] : []
  return [...free, ...leases.map((it) => ({ ...it, value: `${start}${it.value}` })), ...other]
}
