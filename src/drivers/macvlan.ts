import { PipeworkError } from '../model/errors'
import { formatVlans } from '../model/vlan'
import { guestNetns, ip, ipInGuest, type Plan, rows } from '../plan/step'
import type { GuestLink } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { BIRTHMARK, MADE_RECORD } from '../state/record'
import {
  convergeMac,
  convergeMtu,
  convergeRecord,
  explainMissing,
  refuseForeign,
  refuseMtu,
  refuseOffload,
  toRecord,
} from './claim'
import type { Context, LinkKind } from './types'

/** A macvlan or ipvlan on a NIC, or on a VLAN of it. It is born in the guest and has no end in the host. */
export const macvlan: LinkKind = {
  misfit: (context, { kind, peerIndex }) => {
    const { sharing } = context.request
    if (kind !== sharing.kind) return `is a ${kind}, not a ${sharing.kind} on '${parentOf(context)}'`
    return peerIndex === parentIndex(context) ? undefined : `is not on '${parentOf(context)}'`
  },

  plan: (context) => {
    const { hostif } = context.facts
    if (hostif === undefined) return []
    refuse(context, hostif)
    refuseCutOff(context)
    refuseMtu(context, context.facts.vlanDevice?.link ?? hostif)
    refuseOffload(context, `a ${context.request.sharing.kind}`)
    return rows(
      planNic(context, hostif),
      context.facts.inGuest === undefined ? planLink(context, hostif) : convergeLink(context, context.facts.inGuest),
    )
  },
}

function refuse({ request, facts }: Context, { name, kind, master }: HostLink): void {
  const { sharing, hostEnd, mac, vlan } = request
  if (kind === 'loopback')
    throw new PipeworkError(`'${name}' is the loopback interface`, { hint: 'Give a NIC or a bridge.' })
  if (master !== undefined)
    throw new PipeworkError(`'${name}' is a port of '${master}', so nothing else can take its frames`, {
      hint: `Attach to that one instead: pipework ${master} …`,
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
    throw new PipeworkError(`-l '${hostEnd}': a ${sharing.kind} has no end in the host that could be named`, {
      hint: 'Leave -l out.',
    })
  if (vlan !== undefined && (vlan.native === undefined || vlan.tagged.length > 0))
    throw new PipeworkError(`'@${formatVlans(vlan)}': '${name}' is a NIC, and a ${sharing.kind} on it has one VLAN`, {
      hint: `Give one id, like @${vlan.native ?? vlan.tagged[0]?.[0]}; a trunk needs a bridge.`,
    })
  const device = facts.vlanDevice
  if (device?.link !== undefined && (device.id !== vlan?.native || device.link.peerIndex !== facts.hostif?.ifindex))
    throw new PipeworkError(`'${device.name}' is there already and is not VLAN ${vlan?.native} of '${name}'`, {
      hint: `See what it is: ip -d link show ${device.name}`,
    })
}

/** In the mode passthru the kernel gives every frame of the NIC, and its MAC address, to the guest. */
function refuseCutOff(context: Context): void {
  const { request, facts } = context
  const isSo = facts.inGuest?.mode === request.sharing.mode
  if (facts.hostAddress === undefined || request.force || isSo) return
  throw new PipeworkError(
    `--mode passthru gives all of '${parentOf(context)}' to the guest, and this host has ${facts.hostAddress} on it`,
    { hint: 'Without it you may lose the host. Take the mode bridge, or do it all the same with --force.' },
  )
}

/** The name of what the link hangs on: the NIC, or the device of its VLAN. */
function parentOf({ request, facts }: Context): string {
  return facts.vlanDevice?.name ?? request.hostif
}

/** The NIC up, and its VLAN device made and up. */
function planNic({ request, guest, facts }: Context, { name, up }: HostLink): Plan {
  const device = facts.vlanDevice
  return rows(
    !up && { why: `bring ${name} up`, command: ip`link set dev ${name} up`, undo: ip`link set dev ${name} down` },
    device !== undefined &&
      device.link === undefined && {
        why: `create ${device.name} for VLAN ${request.vlan?.native}`,
        command: ip`link add link ${name} name ${device.name} group ${BIRTHMARK} type vlan id ${request.vlan?.native}`,
        undo: ip`link del dev ${device.name}`,
        explain: explainMissing('vlan'),
      },
    device !== undefined &&
      (device.link === undefined || device.unrecorded) && {
        why: `record that pipework made ${device.name} for ${guest.name}`,
        command: ip`link set dev ${device.name} group 0 alias ${MADE_RECORD}`,
      },
    device !== undefined &&
      device.link?.up !== true && {
        why: `bring ${device.name} up`,
        command: ip`link set dev ${device.name} up`,
        undo: device.link === undefined ? undefined : ip`link set dev ${device.name} down`,
      },
  )
}

function planLink(context: Context, nic: HostLink): Plan {
  const { request, guest, facts } = context
  const { mtu = (facts.vlanDevice?.link ?? nic).mtu } = request
  const { kind, mode } = request.sharing
  const { ifname } = request
  const address = kind === 'macvlan' && ['address', facts.mac]
  return [
    {
      why: `connect ${ifname} in ${guest.name} to ${parentOf(context)}`,
      command: ip`link add link ${parentOf(context)} name ${ifname} ${address} mtu ${mtu} netns ${guestNetns} type ${kind} mode ${mode}`,
      undo: ipInGuest`link del dev ${ifname}`,
      explain: explainMissing(kind),
    },
    {
      why: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${toRecord(context)}`,
    },
  ]
}

/** Ours by its record; a half-made one of a killed run by its parent and the address that we give. */
function isOurs(context: Context, { record, kind, alias, mac, peerIndex }: GuestLink): boolean {
  if (record !== undefined) return true
  const { facts, request } = context
  const isHalfMade = alias === undefined && kind === request.sharing.kind && peerIndex === parentIndex(context)
  return isHalfMade && (kind === 'ipvlan' || mac === facts.mac)
}

function parentIndex({ facts }: Context): number | undefined {
  return (facts.vlanDevice === undefined ? facts.hostif : facts.vlanDevice.link)?.ifindex
}

function convergeLink(context: Context, link: GuestLink): Plan {
  const { request, facts } = context
  const { ifname, sharing } = request
  if (!isOurs(context, link)) refuseForeign(context)
  return rows(
    convergeMtu(context, link.mtu, (facts.vlanDevice?.link ?? facts.hostif)?.mtu),
    link.mode !== sharing.mode && {
      why: `set the mode of ${ifname}`,
      command: ipInGuest`link set dev ${ifname} type ${sharing.kind} mode ${sharing.mode}`,
      undo: ipInGuest`link set dev ${ifname} type ${sharing.kind} mode ${link.mode}`,
    },
    convergeMac(context, link.mac),
    convergeRecord(context, link),
  )
}
