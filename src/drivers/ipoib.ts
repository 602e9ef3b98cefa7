import { PipeworkError } from '../model/errors'
import { isPartitionKey } from '../model/vlan'
import { formatLinkRecord } from '../network/link-record'
import { guestNetns, ip, ipInGuest, type Plan, planSteps } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import type { LinkDriver } from './types'
import { planMtuChange, planRecordChange } from './update-link'
import { explainMissingModule, validateMtu, validateNoForeignLink, validateTxOffload } from './validate'

/**
 * A child of an InfiniBand interface: what a macvlan is to Ethernet, which InfiniBand is not. IP only, no bridge, and
 * the hardware gives the address.
 */
export const ipoibDriver: LinkDriver = {
  incompatibility: (_, { kind }) => (kind === 'ipoib' ? undefined : `is a ${kind} and no IPoIB interface`),

  plan: (context) => {
    const { request, facts } = context
    validateIpoib(context)
    validateMtu(context, facts.hostif)
    validateTxOffload(context, 'an IPoIB interface')
    return planSteps(
      facts.hostif?.up === false && {
        description: `bring ${request.hostif} up`,
        command: ip`link set dev ${request.hostif} up`,
        undo: ip`link set dev ${request.hostif} down`,
      },
      facts.inGuest === undefined ? planIpoib(context) : planIpoibUpdate(context, facts.inGuest),
    )
  },
}

function validateIpoib({ request: { hostif, hostEnd, mac, tag } }: AttachContext): void {
  if (mac !== undefined)
    throw new PipeworkError(`'${hostif}' is InfiniBand, where the hardware gives the address`, {
      hint: 'Leave the MAC address out.',
    })
  if (hostEnd !== undefined)
    throw new PipeworkError(`-l '${hostEnd}': an IPoIB interface has no end in the host that could be named`, {
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

function planIpoibUpdate(context: AttachContext, link: GuestLink): Plan {
  const { hostif } = context.facts
  // A killed run leaves one without a record, on the same interface.
  const isHalfMade = link.alias === undefined && link.kind === 'ipoib' && link.peerIndex === hostif?.ifindex
  if (link.record === undefined && !isHalfMade) validateNoForeignLink(context)
  return [...planMtuChange(context, link.mtu, hostif?.mtu), ...planRecordChange(context, link)]
}
