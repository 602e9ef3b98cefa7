import { PipeworkError } from '../model/errors'
import { isPartitionKey } from '../model/vlan'
import { formatLinkRecord } from '../network/link-record'
import { guestNetns, ip, ipInGuest, type Plan, planSteps } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import { planChildRemoval } from './removal'
import type { Driver } from './types'
import { planMtuChange, planRecordChange } from './update-link'
import { explainMissingModule, validateMtu, validateNoForeignLink, validateTxOffload } from './validate'

/** A child of an InfiniBand interface. InfiniBand has no bridges, and the hardware gives the MAC address. */
export const ipoibDriver: Driver = {
  hasFixedMac: true,

  matches: ({ facts }) => facts.hostif?.kind === 'infiniband',

  validate: (context) => {
    const { hostif, inGuest } = context.facts
    validateIpoib(context)
    validateMtu(context, hostif)
    validateTxOffload(context, 'an IPoIB interface')
    if (inGuest !== undefined && !isOwnIpoib(context, inGuest)) validateNoForeignLink(context)
  },

  plan: (context) => {
    const { request, facts } = context
    const { hostif, inGuest } = facts
    return planSteps(
      hostif?.up === false && {
        description: `bring ${request.hostif} up`,
        command: ip`link set dev ${request.hostif} up`,
        undo: ip`link set dev ${request.hostif} down`,
      },
      inGuest === undefined
        ? planIpoib(context)
        : [...planMtuChange(context, inGuest.mtu, hostif?.mtu), ...planRecordChange(context, inGuest)],
    )
  },

  planRemoval: planChildRemoval,

  incompatibility: (_, { kind }) => (kind === 'ipoib' ? undefined : `is a ${kind} and no IPoIB interface`),
}

function validateIpoib({ request: { hostif, hostEnd, mac, tag } }: AttachContext): void {
  if (mac !== undefined)
    throw new PipeworkError(`'${hostif}' is InfiniBand, where the hardware gives the address`, {
      hint: 'Leave the MAC address out.',
    })
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': an IPoIB interface has no host end`, {
      hint: 'Leave -l out.',
    })
  if (tag !== undefined && !isPartitionKey(tag))
    throw new PipeworkError(`'@${tag}': on InfiniBand this is the partition key, up to four hexadecimal digits`, {
      hint: 'Write it like @8001.',
    })
}

function planIpoib(context: AttachContext): Plan {
  const { request, guest } = context
  const { hostif, ifname, tag } = request
  return [
    {
      description: `connect ${ifname} in ${guest.name} to ${hostif}`,
      command: ip`link add link ${hostif} name ${ifname} ${request.mtu !== undefined && ['mtu', `${request.mtu}`]} netns ${guestNetns} type ipoib ${tag !== undefined && ['pkey', `0x${tag}`]}`,
      undo: ipInGuest`link del dev ${ifname}`,
      explainFailure: explainMissingModule('ib_ipoib'),
    },
    {
      description: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${formatLinkRecord(context)}`,
    },
  ]
}

/** Whether pipework made it: by its record, or, where a killed run left none, by its parent. */
function isOwnIpoib({ facts }: AttachContext, { record, alias, kind, peerIndex }: GuestLink): boolean {
  return record !== undefined || (alias === undefined && kind === 'ipoib' && peerIndex === facts.hostif?.ifindex)
}
