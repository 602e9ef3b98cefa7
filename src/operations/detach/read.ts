import type { ExistingAttachment } from '../../state/attachments'
import { readPortVlans } from '../../state/bridge-vlans'
import { findMacvlanParent, type GuestState, readGuestSysctls } from '../../state/guest'
import { readHostState } from '../../state/host'
import { mayHaveHostServices } from '../../state/marker'
import type { OvsDatabase } from '../../state/ovsdb'
import { mayHavePolicyRules, readPolicyRouting } from '../../state/policy-rules'
import { readSavedNic } from '../../state/saved-link'
import type { HeldNetns, System } from '../../system/types'
import type { ResolvedTarget } from '../look'
import { findUnusedParents } from './gc'
import type { DetachInputs } from './plan'

interface DetachContext extends Pick<DetachInputs, 'attachment' | 'others'> {
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
  /** Attachments that earlier plans of a dry run have removed. */
  readonly gone: readonly ExistingAttachment[]
  /** This attachment and those removed with it; the host services of all of them are removed. */
  readonly leaving: readonly ExistingAttachment[]
}

/** Removes the host services that no remaining attachment uses. */
async function planHostRelease(
  { attachment, leaving }: DetachContext,
  system: System,
): Promise<Pick<DetachInputs, 'servicesRemoval'>> {
  if (leaving.length === 0 || attachment.record.nic !== undefined || !mayHaveHostServices(system)) return {}
  const { planServicesRemoval } = await import('../../network/host-services')
  return { servicesRemoval: await planServicesRemoval(leaving, system) }
}

/** Reads everything that removing an attachment depends on. */
export async function readDetachInputs(
  known: DetachContext,
  { resolved }: ResolvedTarget,
  system: System,
): Promise<DetachInputs> {
  const { attachment, others, state, gone, ovs } = known
  const { inGuest, hostEnd, deadPort } = attachment
  const { nic } = attachment.record
  // A NIC that returns to the host keeps its own parent.
  const parent = nic === undefined ? findMacvlanParent(inGuest, system) : undefined
  const pin = resolved.guest === undefined ? undefined : resolved.pin
  const [portVlans, sysctls, policy, hostRelease, unusedParents] = await Promise.all([
    hostEnd === undefined ? undefined : readPortVlans(hostEnd, 'filtering', system),
    pin === undefined || inGuest === undefined ? {} : readGuestSysctls(inGuest.name, pin.netns, system),
    readDetachPolicy(known, pin, system),
    planHostRelease(known, system),
    findUnusedParents({ hostEnd, parent, deadPort, ovs }, gone, system),
  ])
  const savedNic = nic === undefined ? undefined : readSavedNic(nic, system)
  return {
    attachment,
    others,
    guestState: state,
    sysctls,
    portVlans,
    parent,
    savedNic,
    hostState: savedNic === undefined ? undefined : await readHostState(system),
    ...policy,
    ...hostRelease,
    ...unusedParents,
  }
}

/** The policy rules of the attachment and of links that were deleted by hand. */
async function readDetachPolicy(
  { attachment, gone, state }: DetachContext,
  pin: HeldNetns | undefined,
  system: System,
): Promise<Pick<DetachInputs, 'policy'>> {
  const { inGuest, record } = attachment
  if (pin === undefined || inGuest === undefined) return {}
  if (!record.words.includes('--policy-route') && !mayHavePolicyRules(system, pin.netns)) return {}
  const names = gone.map((it) => it.inGuest?.name)
  // On a dry run the earlier plans remove their own routes, and the first one the rules of deleted links.
  const isFirst = gone.every(
    (it) => it.record.guest.kind !== record.guest.kind || it.record.guest.name !== record.guest.name,
  )
  const of = { ifname: record.ifname, links: isFirst && state !== undefined ? state.links : undefined }
  const { rules, routes } = await readPolicyRouting(of, pin.netns, system)
  return { policy: { rules, routes: routes.filter(({ dev }) => !names.includes(dev)) } }
}
