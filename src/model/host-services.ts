import { type Address, parseAddress } from './address'
import { usageError } from './errors'
import { parseIfname } from './ifname'
import { isPortConflict, type PortMapping, parsePortMapping } from './port-mapping'
import { parseRouted } from './routed'

/** What an attachment needs on the host beside its link. */
export interface HostServices {
  /** Addresses that the host has on the bridge. */
  readonly bridgeAddresses: readonly Address[]
  /** Masquerading of what the guest sends; `out` limits it to one interface. */
  readonly nat?: { readonly out?: string }
  readonly portMappings: readonly PortMapping[]
  /** Whether host and guest reach each other although they share a NIC. */
  readonly hostAccess: boolean
}

/** The options as typed. */
export interface HostServiceOptions {
  readonly bridgeAddress?: string | undefined
  /** Empty for every interface. */
  readonly nat?: string | undefined
  readonly publish?: readonly string[] | undefined
  readonly hostAccess?: boolean | undefined
}

const NO_SERVICES: HostServices = { bridgeAddresses: [], portMappings: [], hostAccess: false }

function parsePortMappings(typed: readonly string[], addresses: readonly Address[]): readonly PortMapping[] {
  const all = typed.map(parsePortMapping)
  all.forEach((one, index) => {
    const text = `--publish '${typed[index]}'`
    if (addresses.length === 0)
      throw usageError(`${text}: the guest gets no address`, 'Give it an address, or leave --publish out.')
    const { listenAddress } = one
    if (listenAddress !== undefined && !addresses.some(({ family }) => family === listenAddress.family))
      throw usageError(
        `${text}: the guest gets no IPv${listenAddress.family} address`,
        'Give the guest one, or publish on another address.',
      )
    const twin = all.findIndex((other) => isPortConflict(one, other))
    if (twin !== index)
      throw usageError(
        `${text}: '${typed[twin]}' already uses this host port`,
        'Leave one of them out, or use another host port.',
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
        `--bridge-address '${typed}': the host's own address takes no gateway`,
        `Write it without @${gateway}.`,
      )
    if (addresses.filter((it) => it.ip === ip).length > 1)
      throw usageError(`--bridge-address '${typed}': ${ip} is given twice`, 'Give it once.')
  }
  return addresses
}

function parseNat(out: string | undefined, addresses: readonly Address[]): Pick<HostServices, 'nat'> {
  if (out === undefined) return {}
  const routed = addresses.find(({ gateway }) => gateway !== undefined)
  if (addresses.length === 0)
    throw usageError('--nat: the guest gets no address', 'Give it an address, or leave --nat out.')
  const wide = addresses.find(({ prefix }) => prefix === 0)
  if (routed !== undefined && wide !== undefined)
    throw usageError(
      `--nat: ${wide.ip}/0 would masquerade everything`,
      'Give the address the prefix of its subnet, like /24.',
    )
  return { nat: out === '' ? {} : { out: parseIfname(out, 'interface of --nat') } }
}

/** The host services that the options ask for. Throws usage errors. */
export function parseHostServices(options: HostServiceOptions, addresses: readonly Address[]): HostServices {
  return {
    bridgeAddresses: parseBridgeAddresses(options.bridgeAddress),
    ...parseNat(options.nat, addresses),
    portMappings: parsePortMappings(options.publish ?? [], addresses),
    hostAccess: options.hostAccess ?? false,
  }
}

/** The options as words of a link record. */
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

/** The host services that the words of a link record ask for. */
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
    return NO_SERVICES // a record that was edited by hand
  }
}

/** What a request or a link record says about host services. */
export interface ServiceRequest {
  readonly hostif: string
  readonly hostServices: HostServices
}

/** Whether an attachment needs more on the host than its link. */
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

/** Whether the host forwards packets for the attachment; a foreign firewall rule may drop these. */
export function needsForwarding({ hostif, hostServices: { nat, portMappings } }: ServiceRequest): boolean {
  return nat !== undefined || portMappings.length > 0 || parseRouted(hostif)?.nic !== undefined
}

/** The fields of a link record that say which host services it needs. */
export interface RecordedServices {
  readonly hostif: string
  readonly words: readonly string[]
  readonly addresses?: readonly Address[] | undefined
  /** Set on a NIC that was moved into the guest. */
  readonly nic?: string
}

/** The host services of a link record. A moved NIC has none: the guest can write that record. */
export function hostServicesOf({ hostif, words, addresses = [], nic }: RecordedServices): ServiceRequest {
  return nic === undefined
    ? { hostif, hostServices: parseRecordedServices(words, addresses) }
    : { hostif: '', hostServices: NO_SERVICES }
}
