import { PipeworkError } from '../model/errors'
import { formatVlanSet } from '../model/vlan'
import { formatLinkRecord } from '../network/link-record'
import { type Command, guestNetns, ip, ipInGuest, type Plan } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'
import { planLinkDeletion } from './removal'
import type { Driver, LinkRemoval } from './types'
import { planMacChange, planMtuChange, planRecordChange } from './update-link'
import { explainMissingModule, validateMtu, validateNoForeignLink, validateTxOffload } from './validate'

/** An interface in the guest that leads nowhere, for an address that does not depend on a NIC. */
export const dummyDriver: Driver = {
  matches: ({ request, facts }) => request.hostif === 'dummy' && facts.hostif === undefined,

  validate: (context) => {
    validateDummy(context)
    validateMtu(context)
    validateTxOffload(context, 'a dummy interface')
    const { inGuest } = context.facts
    if (inGuest !== undefined && !isOwnDummy(context, inGuest)) validateNoForeignLink(context)
  },

  plan: (context) => {
    const { inGuest } = context.facts
    if (inGuest === undefined) return planDummy(context)
    return [
      ...planMtuChange(context, inGuest.mtu, DEFAULT_MTU),
      ...planMacChange(context, inGuest.mac),
      ...planRecordChange(context, inGuest),
    ]
  },

  planRemoval: (removal) => planLinkDeletion(removal, restoreDummyCommands(removal)),

  incompatibility: (_, { kind }) => (kind === 'dummy' ? undefined : `is a ${kind} and no dummy interface`),
}

function validateDummy({ request: { hostEnd, vlan } }: AttachContext): void {
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': a dummy interface has no host end`, {
      hint: 'Leave -l out.',
    })
  if (vlan !== undefined)
    throw new PipeworkError(`'@${formatVlanSet(vlan)}': a dummy interface has no VLAN`, {
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

/** Whether pipework made it: by its record, or, where a killed run left none, by its address. */
function isOwnDummy({ facts }: AttachContext, { record, alias, kind, mac }: GuestLink): boolean {
  return record !== undefined || (alias === undefined && kind === 'dummy' && mac === facts.mac)
}

function restoreDummyCommands({ attachment: { inGuest, alias } }: LinkRemoval): readonly Command[] {
  if (inGuest === undefined) return []
  const { name, mac, mtu } = inGuest
  return [
    ip`link add name ${name} address ${mac} mtu ${mtu} netns ${guestNetns} type dummy`,
    ipInGuest`link set dev ${name} alias ${alias}`,
  ]
}
