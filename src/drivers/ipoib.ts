import { isPkey } from '../model/address'
import { PipeworkError } from '../model/errors'
import { guestNetns, ip, ipInGuest, type Plan, rows } from '../plan/step'
import type { GuestLink } from '../state/guest'
import { convergeMtu, convergeRecord, explainMissing, refuseForeign, refuseMtu, refuseOffload, toRecord } from './claim'
import type { Context, LinkKind } from './types'

/**
 * A child of an InfiniBand interface: what a macvlan is to Ethernet, which InfiniBand is not. IP only, no bridge, and
 * the hardware gives the address.
 */
export const ipoib: LinkKind = {
  misfit: (_, { kind }) => (kind === 'ipoib' ? undefined : `is a ${kind} and no IPoIB interface`),

  plan: (context) => {
    const { request, facts } = context
    refuse(context)
    refuseMtu(context, facts.hostif)
    refuseOffload(context, 'an IPoIB interface')
    return rows(
      facts.hostif?.up === false && {
        why: `bring ${request.hostif} up`,
        command: ip`link set dev ${request.hostif} up`,
        undo: ip`link set dev ${request.hostif} down`,
      },
      facts.inGuest === undefined ? planLink(context) : convergeLink(context, facts.inGuest),
    )
  },
}

function refuse({ request: { hostif, hostEnd, mac, tag } }: Context): void {
  if (mac !== undefined)
    throw new PipeworkError(`'${hostif}' is InfiniBand, where the hardware gives the address`, {
      hint: 'Leave the MAC address out.',
    })
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': an IPoIB interface has no end in the host that could be named`, {
      hint: 'Leave -l out.',
    })
  if (tag !== undefined && !isPkey(tag))
    throw new PipeworkError(`'@${tag}': on InfiniBand this is the partition key, up to four hexadecimal digits`, {
      hint: 'Write it like @8001.',
    })
}

function planLink(context: Context): Plan {
  const { request, guest } = context
  const { hostif, ifname, tag } = request
  return [
    {
      why: `connect ${ifname} in ${guest.name} to ${hostif}`,
      command: ip`link add link ${hostif} name ${ifname} ${request.mtu !== undefined && ['mtu', `${request.mtu}`]} netns ${guestNetns} type ipoib ${tag !== undefined && ['pkey', `0x${tag}`]}`,
      undo: ipInGuest`link del dev ${ifname}`,
      explain: explainMissing('ib_ipoib'),
    },
    {
      why: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${toRecord(context)}`,
    },
  ]
}

function convergeLink(context: Context, link: GuestLink): Plan {
  const { hostif } = context.facts
  // A killed run leaves one without a record, on the same interface.
  const isHalfMade = link.alias === undefined && link.kind === 'ipoib' && link.peerIndex === hostif?.ifindex
  if (link.record === undefined && !isHalfMade) refuseForeign(context)
  return [...convergeMtu(context, link.mtu, hostif?.mtu), ...convergeRecord(context, link)]
}
