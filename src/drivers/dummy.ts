import { PipeworkError } from '../model/errors'
import { formatVlanSet } from '../model/vlan'
import { formatLinkRecord } from '../network/link-record'
import { guestNetns, ip, ipInGuest, type Plan } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'
import type { LinkDriver } from './types'
import { planMacChange, planMtuChange, planRecordChange } from './update-link'
import { explainMissingModule, validateMtu, validateNoForeignLink, validateTxOffload } from './validate'

/** An interface that leads nowhere, in the guest only: for an address that is to be there whatever happens to the NICs. */
export const dummyDriver: LinkDriver = {
  incompatibility: (_, { kind }) => (kind === 'dummy' ? undefined : `is a ${kind} and no dummy interface`),

  plan: (context) => {
    validateDummy(context)
    validateMtu(context)
    validateTxOffload(context, 'a dummy interface')
    return context.facts.inGuest === undefined ? planDummy(context) : planDummyUpdate(context, context.facts.inGuest)
  },
}

function validateDummy({ request: { hostEnd, vlan } }: AttachContext): void {
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': a dummy interface has no end in the host that could be named`, {
      hint: 'Leave -l out.',
    })
  if (vlan !== undefined)
    throw new PipeworkError(`'@${formatVlanSet(vlan)}': a dummy interface leads nowhere, and so into no VLAN`, {
      hint: 'Leave it out, or give a NIC or a bridge.',
    })
}

function planDummy(context: AttachContext): Plan {
  const { request, guest, facts } = context
  const { ifname } = request
  return [
    {
      description: `create ${ifname} in ${guest.name}`,
      command: ip`link add name ${ifname} address ${facts.mac} ${request.mtu !== undefined && ['mtu', `${request.mtu}`]} netns ${guestNetns} type dummy`,
      undo: ipInGuest`link del dev ${ifname}`,
      explainFailure: explainMissingModule('dummy'),
    },
    {
      description: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${formatLinkRecord(context)}`,
    },
  ]
}

function planDummyUpdate(context: AttachContext, link: GuestLink): Plan {
  const { record, alias, kind, mac, mtu } = link
  // A killed run leaves one without a record, which has the address that we give.
  const isHalfMade = alias === undefined && kind === 'dummy' && mac === context.facts.mac
  if (record === undefined && !isHalfMade) validateNoForeignLink(context)
  return [
    ...planMtuChange(context, mtu, DEFAULT_MTU),
    ...planMacChange(context, mac),
    ...planRecordChange(context, link),
  ]
}
