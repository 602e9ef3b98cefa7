import type { LinkRecord } from '../state/record'
import type { System } from '../system/types'
import { type Address, type Family, parseAddress, parseIfname, parseIpAddress } from './address'
import { usageError } from './errors'

/** What a request wants of the host beside the link: how the guest and the rest of the world reach each other. */
export interface HostServices {
  /** Addresses of the host on the bridge. */
  readonly bridgeAddresses: readonly Address[]
  /** Whether what the guest sends to the outside leaves with an address of the host, and by which interface only. */
  readonly nat?: { readonly out?: string }
  readonly portMappings: readonly PortMapping[]
  /** Whether host and guest reach each other past the NIC that they share. */
  readonly hostAccess: boolean
}

/** Ports of the host that lead to the guest. */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp'
  /** The host's address, where not all of them. */
  readonly listenAddress?: { readonly family: Family; readonly ip: string }
  readonly hostPorts: PortRange
  /** Of the guest; as many as of the host. */
  readonly guestPorts: PortRange
}

export interface PortRange {
  readonly first: number
  readonly last: number
}

/** The options as typed. */
export interface HostServiceOptions {
  readonly bridgeAddress?: string | undefined
  /** Empty for any way out. */
  readonly nat?: string | undefined
  readonly publish?: readonly string[] | undefined
  readonly hostAccess?: boolean | undefined
}

const NO_SERVICES: HostServices = { bridgeAddresses: [], portMappings: [], hostAccess: false }

function parsePortRange(text: string, typed: string): PortRange {
  const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? []
  const [first, last] = [Number(from), Number(to)]
  if (from === '' || first < 1 || last > 65535 || first > last)
    throw usageError(
      `--publish '${typed}': '${text}' is neither a port nor a range of ports`,
      'Write HOSTPORT:GUESTPORT, like 8080:80, with /udp behind it where it is not TCP.',
    )
  return { first, last }
}

/** `[ip:]hostport:guestport[/tcp|udp]` as Docker has it, ports also as `first-last`. Throws usage errors. */
export function parsePortMapping(typed: string): PortMapping {
  const [ports = '', protocol = 'tcp', ...rest] = typed.split('/')
  if (rest.length > 0 || (protocol !== 'tcp' && protocol !== 'udp'))
    throw usageError(
      `--publish '${typed}': '${[protocol, ...rest].join('/')}' is neither tcp nor udp`,
      'Write /udp behind it, or nothing for TCP.',
    )
  const [, bracketed, plain, host, guest] = /^(?:\[([^\]]*)\]:|([\d.]+):)?([^:]*):([^:]*)$/.exec(ports) ?? []
  if (host === undefined || guest === undefined)
    throw usageError(
      `--publish '${typed}' does not say which port of the host leads to which of the guest`,
      'Write [IP:]HOSTPORT:GUESTPORT, like 8080:80 or 192.168.1.10:8080:80 or [fd00::1]:8080:80/udp.',
    )
  const ip = bracketed ?? plain
  const at = ip === undefined || ip === '0.0.0.0' ? undefined : parseIpAddress(ip, `--publish '${typed}'`)
  if (at?.ip === '::1')
    throw usageError(
      `--publish '${typed}': what is sent to ::1 never leaves this host`,
      'IPv6 has no route_localnet. Give another address of the host, or 127.0.0.1.',
    )
  const [from, to] = [parsePortRange(host, typed), parsePortRange(guest, typed)]
  if (from.last - from.first !== to.last - to.first)
    throw usageError(
      `--publish '${typed}': ${host} and ${guest} are not as many ports`,
      'Write as many on either side, like 8000-8010:8000-8010.',
    )
  if (from.first !== from.last && from.first !== to.first)
    throw usageError(
      `--publish '${typed}': a range of ports keeps its numbers`,
      `Write ${host}:${host}, or give each port its own --publish.`,
    )
  return { protocol, listenAddress: at, hostPorts: from, guestPorts: to }
}

function portsOverlap(a: PortRange, b: PortRange): boolean {
  return a.first <= b.last && b.first <= a.last
}

/** Whether one port of the host would lead to two places. */
export function isPortConflict(a: PortMapping, b: PortMapping): boolean {
  const isSameAddress =
    a.listenAddress === undefined || b.listenAddress === undefined || a.listenAddress.ip === b.listenAddress.ip
  return a.protocol === b.protocol && isSameAddress && portsOverlap(a.hostPorts, b.hostPorts)
}

function parsePortMappings(typed: readonly string[], addresses: readonly Address[]): readonly PortMapping[] {
  const all = typed.map(parsePortMapping)
  all.forEach((one, index) => {
    const text = `--publish '${typed[index]}'`
    if (addresses.length === 0)
      throw usageError(`${text} leads to the address of the guest, and it is to have none`, 'Give it one.')
    const { listenAddress } = one
    if (listenAddress !== undefined && !addresses.some(({ family }) => family === listenAddress.family))
      throw usageError(
        `${text}: the guest is to have no IPv${listenAddress.family} address`,
        'Give it one, or another address here.',
      )
    const twin = all.findIndex((other) => isPortConflict(one, other))
    if (twin !== index)
      throw usageError(
        `${text}: '${typed[twin]}' has that port already`,
        'Leave one of them out, or give it another port of the host.',
      )
  })
  return all
}

function parseBridgeAddresses(typed: string | undefined): readonly Address[] {
  if (typed === undefined) return []
  const addresses = typed.split(',').map(parseAddress)
  for (const { ip, gateway } of addresses) {
    if (gateway !== undefined)
      throw usageError(
        `--bridge-address '${typed}': the host's own address has no gateway`,
        `Write it without @${gateway}.`,
      )
    if (addresses.filter((it) => it.ip === ip).length > 1)
      throw usageError(`--bridge-address '${typed}': ${ip} stands there twice`, 'Once is enough.')
  }
  return addresses
}

function parseNat(out: string | undefined, addresses: readonly Address[]): Pick<HostServices, 'nat'> {
  if (out === undefined) return {}
  const routed = addresses.find(({ gateway }) => gateway !== undefined)
  if (addresses.length === 0)
    throw usageError('--nat is for what the guest sends from its address, and it is to have none', 'Give it one.')
  const wide = addresses.find(({ prefix }) => prefix === 0)
  if (routed !== undefined && wide !== undefined)
    throw usageError(
      `--nat: ${wide.ip}/0 would be masquerading everything`,
      'Give the address the prefix of its subnet.',
    )
  return { nat: out === '' ? {} : { out: parseIfname(out, 'way out') } }
}

/** What the options want, the guest having these addresses. Throws usage errors. */
export function parseHostServices(options: HostServiceOptions, addresses: readonly Address[]): HostServices {
  return {
    bridgeAddresses: parseBridgeAddresses(options.bridgeAddress),
    ...parseNat(options.nat, addresses),
    portMappings: parsePortMappings(options.publish ?? [], addresses),
    hostAccess: options.hostAccess ?? false,
  }
}

/** The options as the words of a record. */
export function toHostServiceWords({
  bridgeAddress,
  nat,
  publish = [],
  hostAccess,
}: HostServiceOptions): readonly string[] {
  return [
    ...(bridgeAddress === undefined ? [] : [`--bridge-address=${bridgeAddress}`]),
    ...(nat === undefined ? [] : [nat === '' ? '--nat' : `--nat=${nat}`]),
    ...publish.map((ports) => `--publish=${ports}`),
    ...(hostAccess ? ['--host-access'] : []),
  ]
}

/** What the words of a record want of the host. */
function parseRecordedServices(words: readonly string[], addresses: readonly Address[]): HostServices {
  const valuesOf = (name: string) =>
    words.flatMap((word) => (word.startsWith(`--${name}=`) ? [word.slice(name.length + 3)] : []))
  try {
    return parseHostServices(
      {
        bridgeAddress: valuesOf('bridge-address')[0],
        nat: words.includes('--nat') ? '' : valuesOf('nat')[0],
        publish: valuesOf('publish'),
        hostAccess: words.includes('--host-access'),
      },
      addresses,
    )
  } catch {
    return NO_SERVICES // edited by hand
  }
}

/** How a host interface of the words `ptp` and `routed:<nic>` reads: no bridge, the host itself is the router. */
export interface RoutedSpec {
  /** The NIC on whose LAN the guest's addresses are; absent where they are nobody's. */
  readonly nic?: string
}

/** The words after `ptp` and `routed:` where they are the host interface. */
export function parseRouted(hostif: string): RoutedSpec | undefined {
  if (hostif === 'ptp') return {}
  return hostif.startsWith('routed:') ? { nic: hostif.slice('routed:'.length) } : undefined
}

/** Where a guest sends everything when no gateway is given: the host's end of its own link has that address. */
export const LINK_LOCAL_GATEWAY = { 4: '169.254.1.1', 6: 'fe80::1' } as const

/** The addresses with a gateway in each family: on a link that leads to the host alone there is one anyway. */
export function withDefaultGateways(addresses: readonly Address[]): readonly Address[] {
  return addresses.map((address, index) => {
    const { family } = address
    const ofFamily = addresses.filter((it) => it.family === family)
    const isFirst = addresses.findIndex((it) => it.family === family) === index
    return isFirst && ofFamily.every(({ gateway }) => gateway === undefined)
      ? { ...address, gateway: LINK_LOCAL_GATEWAY[family] }
      : address
  })
}

/** An attachment that is asked for, or its record. */
export interface ServiceRequest {
  readonly hostif: string
  readonly hostServices: HostServices
}

/** Whether an attachment needs more of the host than its link. */
export function needsHostServices({ hostif, hostServices }: ServiceRequest): boolean {
  const { bridgeAddresses, nat, portMappings, hostAccess } = hostServices
  return (
    parseRouted(hostif) !== undefined ||
    bridgeAddresses.length > 0 ||
    nat !== undefined ||
    portMappings.length > 0 ||
    hostAccess
  )
}

/** Whether the host is to forward something for it, which a rule of somebody else's may drop. */
export function needsForwarding({ hostif, hostServices: { nat, portMappings } }: ServiceRequest): boolean {
  return nat !== undefined || portMappings.length > 0 || parseRouted(hostif)?.nic !== undefined
}

/** The wishes in a record. A NIC itself has none: what it brings back from a guest, that may have written. */
export function hostServicesOf({ hostif, words, addresses = [], nic }: LinkRecord): ServiceRequest {
  return nic === undefined
    ? { hostif, hostServices: parseRecordedServices(words, addresses) }
    : { hostif: '', hostServices: NO_SERVICES }
}

/** A file that says that some attachment has needed more than its link; without it nobody looks at the firewall. */
export const SERVICES_MARKER = '/run/pipework/outside'

/** Whether the host may have more of ours than links: a file says so, and saves a look at the firewall. */
export function mayHaveHostServices(system: System): boolean {
  return system.read(SERVICES_MARKER) !== undefined
}
