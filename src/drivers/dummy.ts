import { PipeworkError } from '../model/errors'
import { formatVlans } from '../model/vlan'
import { guestNetns, ip, ipInGuest, type Plan } from '../plan/step'
import type { GuestLink } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'
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

/** An interface that leads nowhere, in the guest only: for an address that is to be there whatever happens to the NICs. */
export const dummy: LinkKind = {
  misfit: (_, { kind }) => (kind === 'dummy' ? undefined : `is a ${kind} and no dummy interface`),

  plan: (context) => {
    refuse(context)
    refuseMtu(context)
    refuseOffload(context, 'a dummy interface')
    return context.facts.inGuest === undefined ? planLink(context) : convergeLink(context, context.facts.inGuest)
  },
}

function refuse({ request: { hostEnd, vlan } }: Context): void {
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': a dummy interface has no end in the host that could be named`, {
      hint: 'Leave -l out.',
    })
  if (vlan !== undefined)
    throw new PipeworkError(`'@${formatVlans(vlan)}': a dummy interface leads nowhere, and so into no VLAN`, {
      hint: 'Leave it out, or give a NIC or a bridge.',
    })
}

function planLink(context: Context): Plan {
  const { request, guest, facts } = context
  const { ifname } = request
  return [
    {
      why: `create ${ifname} in ${guest.name}`,
      command: ip`link add name ${ifname} address ${facts.mac} ${request.mtu !== undefined && ['mtu', `${request.mtu}`]} netns ${guestNetns} type dummy`,
      undo: ipInGuest`link del dev ${ifname}`,
      explain: explainMissing('dummy'),
    },
    {
      why: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${toRecord(context)}`,
    },
  ]
}

function convergeLink(context: Context, link: GuestLink): Plan {
  const { record, alias, kind, mac, mtu } = link
  // A killed run leaves one without a record, which has the address that we give.
  const isHalfMade = alias === undefined && kind === 'dummy' && mac === context.facts.mac
  if (record === undefined && !isHalfMade) refuseForeign(context)
  return [...convergeMtu(context, mtu, DEFAULT_MTU), ...convergeMac(context, mac), ...convergeRecord(context, link)]
}
