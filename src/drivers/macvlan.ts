import { PipeworkError } from '../model/errors'
import { formatVlanSet } from '../model/vlan'
import { formatLinkRecord } from '../network/link-record'
import { guestNetns, ip, ipInGuest, type Plan, planSteps } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { OWNED_ALIAS, PENDING_GROUP } from '../state/record'
import { planChildRemoval } from './removal'
import type { Driver } from './types'
import { planMacChange, planMtuChange, planRecordChange } from './update-link'
import { explainMissingModule, validateMtu, validateNoForeignLink, validateTxOffload } from './validate'

/** A macvlan on a NIC, or on a VLAN of it. It is created in the guest and has no host end. */
export const macvlanDriver: Driver = {
  sharesNic: true,

  matches: ({ request, facts }) => isNic(facts.hostif) && request.sharing.kind === 'macvlan',

  validate: (context) => {
    const { hostif, vlanDevice, inGuest } = context.facts
    if (hostif === undefined) return
    validateMacvlan(context, hostif)
    validatePassthru(context)
    validateMtu(context, vlanDevice?.link ?? hostif)
    validateTxOffload(context, `a ${context.request.sharing.kind}`)
    if (inGuest !== undefined && !isOwnMacvlan(context, inGuest)) validateNoForeignLink(context)
  },

  plan: (context) => {
    const { hostif, inGuest } = context.facts
    if (hostif === undefined) return []
    return [
      ...planParent(context, hostif),
      ...(inGuest === undefined ? planMacvlan(context, hostif) : planMacvlanUpdate(context, inGuest)),
    ]
  },

  planRemoval: planChildRemoval,

  incompatibility: (context, { kind, peerIndex }) => {
    const { sharing } = context.request
    if (kind !== sharing.kind) return `is a ${kind}, not a ${sharing.kind} on '${parentName(context)}'`
    return peerIndex === parentIndex(context) ? undefined : `is not on '${parentName(context)}'`
  },
}

/** The same, but with the NIC's MAC address. */
export const ipvlanDriver: Driver = {
  ...macvlanDriver,
  hasFixedMac: true,
  matches: ({ request, facts }) => isNic(facts.hostif) && request.sharing.kind === 'ipvlan',
}

function isNic(hostif: HostLink | undefined): boolean {
  return hostif !== undefined && hostif.kind !== 'bridge' && hostif.kind !== 'infiniband'
}

function validateMacvlan({ request, facts }: AttachContext, { name, kind, master }: HostLink): void {
  const { sharing, hostEnd, mac, vlan } = request
  if (kind === 'loopback')
    throw new PipeworkError(`'${name}' is the loopback interface`, { hint: 'Give a NIC or a bridge.' })
  if (master !== undefined)
    throw new PipeworkError(`'${name}' is a port of '${master}', so its frames go there`, {
      hint: `Attach to that bridge instead: pipework ${master} …`,
    })
  if (kind === 'wireless' && sharing.kind === 'macvlan')
    throw new PipeworkError(`'${name}' is wireless: an access point takes frames from its own MAC address only`, {
      hint: 'Share that address between the containers with --kind ipvlan.',
    })
  if (sharing.kind === 'ipvlan' && mac !== undefined)
    throw new PipeworkError(`an ipvlan has the MAC address of '${name}' and can have no other`, {
      hint: 'Leave the MAC address out.',
    })
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': a ${sharing.kind} has no host end`, {
      hint: 'Leave -l out.',
    })
  if (vlan !== undefined && (vlan.native === undefined || vlan.tagged.length > 0))
    throw new PipeworkError(`'@${formatVlanSet(vlan)}': '${name}' is a NIC, and a ${sharing.kind} on it has one VLAN`, {
      hint: `Give one id, like @${vlan.native ?? vlan.tagged[0]?.[0]}; a trunk needs a bridge.`,
    })
  const device = facts.vlanDevice
  if (device?.link !== undefined && (device.id !== vlan?.native || device.link.peerIndex !== facts.hostif?.ifindex))
    throw new PipeworkError(`'${device.name}' is there already and is not VLAN ${vlan?.native} of '${name}'`, {
      hint: `See what it is: ip -d link show ${device.name}`,
    })
}

/** In passthru mode the kernel gives every frame of the NIC, and its MAC address, to the guest. */
function validatePassthru(context: AttachContext): void {
  const { request, facts } = context
  const isAlready = facts.inGuest?.mode === request.sharing.mode
  if (facts.hostAddress === undefined || request.force || isAlready) return
  throw new PipeworkError(
    `--mode passthru gives all of '${parentName(context)}' to the guest, and this host has ${facts.hostAddress} on it`,
    { hint: 'You may lose the connection to this host. Use mode bridge, or do it anyway with --force.' },
  )
}

/** The name of the parent: the NIC, or its VLAN device. */
function parentName({ request, facts }: AttachContext): string {
  return facts.vlanDevice?.name ?? request.hostif
}

/** Brings the NIC up, and creates its VLAN device. */
function planParent({ request, guest, facts }: AttachContext, { name, up }: HostLink): Plan {
  const device = facts.vlanDevice
  return planSteps(
    !up && {
      description: `bring ${name} up`,
      command: ip`link set dev ${name} up`,
      undo: ip`link set dev ${name} down`,
    },
    device !== undefined &&
      device.link === undefined && {
        description: `create ${device.name} for VLAN ${request.vlan?.native}`,
        command: ip`link add link ${name} name ${device.name} group ${PENDING_GROUP} type vlan id ${request.vlan?.native}`,
        undo: ip`link del dev ${device.name}`,
        explainFailure: explainMissingModule('vlan'),
      },
    device !== undefined &&
      (device.link === undefined || device.unrecorded) && {
        description: `record that pipework made ${device.name} for ${guest.name}`,
        command: ip`link set dev ${device.name} group 0 alias ${OWNED_ALIAS}`,
      },
    device !== undefined &&
      device.link?.up !== true && {
        description: `bring ${device.name} up`,
        command: ip`link set dev ${device.name} up`,
        undo: device.link === undefined ? undefined : ip`link set dev ${device.name} down`,
      },
  )
}

function planMacvlan(context: AttachContext, nic: HostLink): Plan {
  const { request, guest, facts } = context
  const { mtu = (facts.vlanDevice?.link ?? nic).mtu } = request
  const { kind, mode } = request.sharing
  const { ifname } = request
  const address = kind === 'macvlan' && ['address', facts.mac]
  return [
    {
      description: `connect ${ifname} in ${guest.name} to ${parentName(context)}`,
      command: ip`link add link ${parentName(context)} name ${ifname} ${address} mtu ${mtu} netns ${guestNetns} type ${kind} mode ${mode}`,
      undo: ipInGuest`link del dev ${ifname}`,
      explainFailure: explainMissingModule(kind),
    },
    {
      description: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${formatLinkRecord(context)}`,
    },
  ]
}

/** Whether pipework made it: by its record, or, where a killed run left none, by its parent and address. */
function isOwnMacvlan(context: AttachContext, { record, kind, alias, mac, peerIndex }: GuestLink): boolean {
  if (record !== undefined) return true
  const { facts, request } = context
  const isHalfMade = alias === undefined && kind === request.sharing.kind && peerIndex === parentIndex(context)
  return isHalfMade && (kind === 'ipvlan' || mac === facts.mac)
}

function parentIndex({ facts }: AttachContext): number | undefined {
  return (facts.vlanDevice === undefined ? facts.hostif : facts.vlanDevice.link)?.ifindex
}

function planMacvlanUpdate(context: AttachContext, link: GuestLink): Plan {
  const { request, facts } = context
  const { ifname, sharing } = request
  return planSteps(
    planMtuChange(context, link.mtu, (facts.vlanDevice?.link ?? facts.hostif)?.mtu),
    link.mode !== sharing.mode && {
      description: `set the mode of ${ifname}`,
      command: ipInGuest`link set dev ${ifname} type ${sharing.kind} mode ${sharing.mode}`,
      undo: ipInGuest`link set dev ${ifname} type ${sharing.kind} mode ${link.mode}`,
    },
    planMacChange(context, link.mac),
    planRecordChange(context, link),
  )
}
