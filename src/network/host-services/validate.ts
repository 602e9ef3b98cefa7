import { isPlainName } from '../../firewall/rule'
import { type Address, isLinkLocalAddress, subnetsOverlap, toCidr } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { isPortConflict, type PortMapping } from '../../model/port-mapping'
import { parseRouted } from '../../model/routed'
import { hexToBytes, readProcRoutes } from '../../state/proc-routes'
import type { System } from '../../system/types'
import type { CurrentState } from './current'
import { type HostAttachment, hostDeviceFor } from './desired'
import { findListener } from './listeners'

/** The facts that refusals depend on. */
export interface ServiceInputs {
  readonly attachment: HostAttachment
  /** The attachment before this request, if it existed. */
  readonly previous: HostAttachment | undefined
  readonly others: readonly HostAttachment[]
  readonly current: CurrentState
  readonly system: System
}

const isLinkScoped = ({ ip }: Pick<Address, 'ip'>) => isLinkLocalAddress(ip) || ip.startsWith('169.254.')

function validateServiceKind({ attachment: { hostif, hostServices, hostEnd } }: ServiceInputs): void {
  const { bridgeAddresses, nat, portMappings, hostAccess } = hostServices
  const routed = parseRouted(hostif)
  const isBridge = routed === undefined && hostEnd !== undefined
  if (bridgeAddresses.length > 0 && !isBridge)
    throw new PipeworkError(`--bridge-address: '${hostif}' is no bridge`, {
      hint: routed === undefined ? 'Leave it out.' : 'The gateway after the @ is the address of the host here.',
    })
  const rules = nat === undefined ? (portMappings.length > 0 ? '--publish' : undefined) : '--nat'
  if (rules !== undefined && hostEnd === undefined)
    throw new PipeworkError(`${rules}: what the guest sends on '${hostif}' does not pass through this host`, {
      hint: 'It needs a bridge, or ptp: pipework br1 --bridge-address 10.0.0.1/24 --nat …',
    })
  if (nat !== undefined && routed?.nic !== undefined)
    throw new PipeworkError(
      `--nat: the guest has an address of the LAN of '${routed.nic}', and is seen there with it`,
      {
        hint: 'Leave --nat out, or give the guest an address of its own with ptp.',
      },
    )
  if (hostAccess && hostEnd !== undefined)
    throw new PipeworkError(`--host-access is for a macvlan on a NIC; '${hostif}' is reached from the host anyway`, {
      hint: 'Leave it out; the host needs an address on the bridge, like --bridge-address 10.0.0.1/24.',
    })
}

function validateServiceNames({ attachment }: ServiceInputs): void {
  const names = [hostDeviceFor(attachment), attachment.hostif.replace(/^routed:/, ''), attachment.hostServices.nat?.out]
  const odd = names.find((name) => name !== undefined && name !== '' && !isPlainName(name))
  if (odd !== undefined)
    throw new PipeworkError(`'${odd}' would be a pattern in a rule of the firewall, or none at all`, {
      hint: 'Take a name of letters, digits, dots, dashes and underscores.',
    })
}

function validateNatOutput({ attachment, current }: ServiceInputs): void {
  const has = (name: string) => current.links.some((link) => link.name === name)
  const { out } = attachment.hostServices.nat ?? {}
  if (out !== undefined && !has(out))
    throw new PipeworkError(`--nat '${out}': there is no such interface`, { hint: 'See what there is: ip -br link' })
  if (out !== undefined && out === hostDeviceFor(attachment))
    throw new PipeworkError(`--nat '${out}': that is where the guest is`, {
      hint: 'Give the interface to the outside.',
    })
}

function validateRoutedNic({ attachment: { hostif }, current }: ServiceInputs): void {
  const nic = parseRouted(hostif)?.nic
  if (nic === undefined) return
  const link = current.links.find(({ name }) => name === nic)
  if (link === undefined)
    throw new PipeworkError(`'${hostif}': there is no interface '${nic}' on this host`, {
      hint: 'See what there is: ip -br link',
    })
  if (link.master !== undefined)
    throw new PipeworkError(`'${nic}' is a port of '${link.master}', which gets all that comes in by it`, {
      hint: `Take that one instead: pipework routed:${link.master} …`,
    })
}

/** An address that the host takes or routes to the guest must not be a router that the host uses. */
function validateRouterAddress({ attachment: { hostServices, hostif, addresses }, system }: ServiceInputs): void {
  const routers = (readProcRoutes(4, '/proc/net', system) ?? []).map(({ via }) => hexToBytes(via).join('.'))
  const isSentTo = parseRouted(hostif) !== undefined || hostServices.hostAccess
  const taken = [...hostServices.bridgeAddresses, ...(isSentTo ? addresses : [])].find(({ ip }) => routers.includes(ip))
  if (taken !== undefined)
    throw new PipeworkError(`'${taken.ip}' is the address of a router of this host`, {
      hint: 'The host would lose its way through that. Take an address that nobody has.',
    })
}

function validateBridgeAddress({ attachment, current }: ServiceInputs): void {
  const { hostServices, hostif } = attachment
  for (const wanted of hostServices.bridgeAddresses) {
    if (attachment.addresses.some(({ ip }) => ip === wanted.ip))
      throw new PipeworkError(`--bridge-address '${toCidr(wanted)}': the guest is to have that address`, {
        hint: 'The host needs another.',
      })
    for (const { name, addresses } of current.links) {
      if (name === hostif || name === 'lo' || isLinkScoped(wanted)) continue
      const other = addresses.find((it) => !isLinkScoped(it) && subnetsOverlap(wanted, it))
      if (other !== undefined)
        throw new PipeworkError(`--bridge-address '${toCidr(wanted)}' overlaps with ${toCidr(other)} on '${name}'`, {
          hint: 'The host would not know on which of the two an address is. Take another subnet.',
        })
    }
  }
}

/** The guest's gateway must be a host address on the bridge. */
function validateServiceGateway({ attachment, current }: ServiceInputs): void {
  const { hostServices, hostif, addresses } = attachment
  if (parseRouted(hostif) !== undefined) return
  const onBridge = [
    ...hostServices.bridgeAddresses,
    ...(current.links.find(({ name }) => name === hostif)?.addresses ?? []),
  ]
  const gateways = addresses.flatMap(({ gateway }) => gateway ?? [])
  if (hostServices.nat !== undefined) {
    if (gateways.length === 0) {
      const ofHost = onBridge.find((it) => addresses.some((address) => subnetsOverlap(it, address)))?.ip
      throw new PipeworkError('--nat: the guest has no gateway, and would send nothing to the host', {
        hint: `Give it one, which the host is to be: IP/PREFIX@${ofHost ?? 'GATEWAY --bridge-address GATEWAY/PREFIX'}`,
      })
    }
    const foreign = gateways.find((gateway) => !onBridge.some(({ ip }) => ip === gateway))
    if (foreign !== undefined)
      throw new PipeworkError(`--nat: the gateway '${foreign}' is not an address of this host on '${hostif}'`, {
        hint: `Give the bridge that address: --bridge-address ${foreign}/PREFIX`,
      })
  }
  for (const { listenAddress } of hostServices.portMappings) {
    const unreached = addresses
      .filter(({ family }) => listenAddress === undefined || listenAddress.family === family)
      .find((address) => !onBridge.some((it) => subnetsOverlap(it, address)))
    if (unreached !== undefined)
      throw new PipeworkError(`--publish: the host has no address on '${hostif}' to reach ${toCidr(unreached)} from`, {
        hint: 'Give it one: --bridge-address IP/PREFIX',
      })
  }
}

const formatHostPorts = ({ listenAddress, hostPorts, protocol }: PortMapping) =>
  `${listenAddress === undefined ? '' : `${listenAddress.ip} `}${protocol} port ${hostPorts.first}${hostPorts.last === hostPorts.first ? '' : `-${hostPorts.last}`}`

function validatePortMappings({ attachment, previous, others, system }: ServiceInputs): void {
  for (const wanted of attachment.hostServices.portMappings) {
    for (const other of others) {
      if (!other.hostServices.portMappings.some((it) => isPortConflict(it, wanted))) continue
      throw new PipeworkError(`--publish: ${formatHostPorts(wanted)} of this host leads to '${other.guest}' already`, {
        hint: 'Take another port.',
      })
    }
    // A listener on a port that we already publish started later and gets no traffic.
    if (previous?.hostServices.portMappings.some((it) => isPortConflict(it, wanted))) continue
    const listener = findListener(wanted, system)
    if (listener !== undefined)
      throw new PipeworkError(`--publish: something listens on ${listener} (${wanted.protocol}) of this host`, {
        hint: `Take another port. See what it is: ss -lnp '( sport = :${wanted.hostPorts.first} )'`,
      })
  }
}

function validateRoutedAddress({ attachment, current }: ServiceInputs): void {
  if (parseRouted(attachment.hostif) === undefined) return
  for (const { ip } of attachment.addresses) {
    const owner = current.links.find(({ addresses }) => addresses.some((it) => it.ip === ip))
    if (owner !== undefined)
      throw new PipeworkError(`'${ip}' is an address of this host, on '${owner.name}'`, { hint: 'Take another one.' })
  }
}

function validateHostAccess({ attachment, current }: ServiceInputs): void {
  const { hostServices, parent, addresses, sharing } = attachment
  if (!hostServices.hostAccess || parent === undefined || sharing === undefined) return
  if (addresses.length === 0)
    throw new PipeworkError('--host-access: the host reaches the guest by its address, and it is to have none', {
      hint: 'Give it one.',
    })
  if (sharing.kind === 'ipvlan')
    throw new PipeworkError(
      `--host-access: an ipvlan on '${parent}' reaches addresses of other ipvlans there and of the LAN, and the host's is neither`,
      {
        hint: `Share the NIC with --kind macvlan. Where only one MAC address is allowed: pipework routed:${parent} …, which the host reaches.`,
      },
    )
  if (sharing.mode !== 'bridge')
    throw new PipeworkError(`--host-access: a macvlan in the mode ${sharing.mode} talks to no other on '${parent}'`, {
      hint: 'Take the mode bridge, which is the usual one.',
    })
  const own = current.links.find(({ name }) => name === parent)?.addresses ?? []
  const lacking = addresses.find(({ family }) => !own.some((it) => it.family === family && !isLinkScoped(it)))
  if (lacking !== undefined)
    throw new PipeworkError(`--host-access: the host has no IPv${lacking.family} address on '${parent}'`, {
      hint: 'Give it one there, or leave --host-access out.',
    })
}

/** Throws every refusal, before the first change. */
export function validateHostServices(all: ServiceInputs): void {
  validateServiceKind(all)
  validateServiceNames(all)
  validateNatOutput(all)
  validateRoutedNic(all)
  validateRouterAddress(all)
  validateRoutedAddress(all)
  validateBridgeAddress(all)
  validateServiceGateway(all)
  validatePortMappings(all)
  validateHostAccess(all)
}
