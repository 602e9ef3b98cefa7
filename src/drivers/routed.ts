import { PipeworkError } from '../model/errors'
import { parseRouted } from '../model/routed'
import { formatVlanSet } from '../model/vlan'
import type { AttachContext } from '../state/attach-facts'
import type { Driver } from './types'
import { planVeth, planVethRemoval, validateVeth } from './veth'

/** A veth pair without a bridge: the host is at the other end and routes. network/host-services adds its addresses. */
export const routedDriver: Driver = {
  matches: ({ request, facts }) => facts.hostif === undefined && parseRouted(request.hostif) !== undefined,

  validate: (context) => {
    validateRouted(context)
    validateVeth(context)
  },

  plan: (context) => planVeth(context, { planPortVlans: () => [], restorePortVlans: () => [] }),

  planRemoval: planVethRemoval,

  isAttached: (_, { master }) => master === undefined,

  incompatibility: ({ request, facts: { hostEnd } }, { kind }) => {
    if (kind !== 'veth') return `is a ${kind}, and has no host end`
    return hostEnd?.master && `is on '${hostEnd.master}', not ${request.hostif}`
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
