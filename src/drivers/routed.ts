import { PipeworkError } from '../model/errors'
import { formatVlanSet } from '../model/vlan'
import type { AttachContext } from '../state/attach-facts'
import type { LinkDriver } from './types'
import { planVeth } from './veth'

/**
 * A veth pair without a bridge: the host itself is at the other end, and sends on what the guest sends. What it needs
 * for that (addresses, routes, sysctls) is no matter of the link.
 */
export const routedDriver: LinkDriver = {
  isAttached: (_, { master }) => master === undefined,

  incompatibility: ({ request, facts: { hostEnd } }, { kind }) => {
    if (kind !== 'veth') return `is a ${kind}, and leads to no end in the host`
    return hostEnd?.master && `is on '${hostEnd.master}', and not ${request.hostif}`
  },

  plan: (context) => {
    validateRouted(context)
    return planVeth(context, { planPortVlans: () => [], restorePortVlans: () => [] })
  },
}

function validateRouted({ request, facts: { hostEnd: live } }: AttachContext): void {
  const { vlan, hostif, hostEnd, addresses } = request
  if (vlan !== undefined)
    throw new PipeworkError(`'@${formatVlanSet(vlan)}': nothing but this host is at the other end of '${hostif}'`, {
      hint: 'Leave it out, or attach to a bridge or a NIC.',
    })
  if (addresses.length === 0)
    throw new PipeworkError(`'${hostif}': the host reaches the guest by its address, and it is to have none`, {
      hint: 'Give it one, like 10.0.0.2/32.',
    })
  if (live !== undefined && hostEnd !== undefined && hostEnd !== live.name && live.master === undefined)
    throw new PipeworkError(`-l '${hostEnd}': '${live.name}' is there, and the host's routes go by that name`, {
      hint: 'Take it away first, with pipework disconnect.',
    })
}
