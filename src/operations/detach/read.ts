import type { ExistingAttachment } from '../../state/attachments'
import { readPortVlans } from '../../state/bridge-vlans'
import { findMacvlanParent, type GuestState, readGuestSysctls } from '../../state/guest'
import { mayHaveHostServices } from '../../state/marker'
import type { OvsDatabase } from '../../state/ovsdb'
import { mayHavePolicyRules, readPolicyRouting } from '../../state/policy-rules'
import { readSavedLink } from '../../state/saved-link'
import type { HeldNetns, System } from '../../system/types'
import type { ResolvedTarget } from '../look'
import { findUnusedParents } from './gc'
import type { DetachInputs } from './plan'

interface DetachContext extends Pick<DetachInputs, 'attachment' | 'others'> {
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
  /** Taken away by the plans before this one, and still there: it is a dry run. */
  readonly gone: readonly ExistingAttachment[]
  /** Those that leave with this one, itself among them, and whose needs of the host end with it. */
  readonly leaving: readonly ExistingAttachment[]
}

/** What the host no longer needs; who has only links has nothing there. */
async function planHostRelease(
  { leaving }: DetachContext,
  system: System,
): Promise<Pick<DetachInputs, 'servicesRemoval'>> {
  if (leaving.length === 0 || !mayHaveHostServices(system)) return {}
  const { planServicesRemoval } = await import('../../network/host-services')
  return { servicesRemoval: await planServicesRemoval(leaving, system) }
}

/** What there is to know of an attachment before it is taken away. */
export async function readDetachInputs(
  known: DetachContext,
  { resolved }: ResolvedTarget,
  system: System,
): Promise<DetachInputs> {
  const { attachment, others, state, gone, ovs } = known
  const { inGuest, hostEnd, deadPort } = attachment
  const parent = findMacvlanParent(inGuest, system)
  const pin = resolved.guest === undefined ? undefined : resolved.pin
  const [port, sysctls, policy, leaving, vacancy] = await Promise.all([
    hostEnd === undefined ? undefined : readPortVlans(hostEnd, 'filtering', system),
    pin === undefined || inGuest === undefined ? {} : readGuestSysctls(inGuest.name, pin.netns, system),
    readDetachPolicy(known, pin, system),
    planHostRelease(known, system),
    findUnusedParents({ hostEnd, parent, deadPort, ovs }, gone, system),
  ])
  const nic = attachment.record.nic === undefined ? undefined : readSavedLink(attachment.record.nic, system)
  return {
    attachment,
    others,
    guestState: state,
    sysctls,
    portVlans: port,
    parent,
    savedNic: nic,
    ...policy,
    ...leaving,
    ...vacancy,
  }
}

/** The rules of an attachment that was made with --policy-route, and of links that somebody has deleted. */
async function readDetachPolicy(
  { attachment, gone, state }: DetachContext,
  pin: HeldNetns | undefined,
  system: System,
): Promise<Pick<DetachInputs, 'policy'>> {
  const { inGuest, record } = attachment
  if (pin === undefined || inGuest === undefined) return {}
  if (!record.words.includes('--policy-route') && !mayHavePolicyRules(system, pin.netns)) return {}
  const names = gone.map((it) => it.inGuest?.name)
  // On a dry run the plans before this one have taken their links' routes, and the rules of links that are gone.
  const isFirst = gone.every(
    (it) => it.record.guest.kind !== record.guest.kind || it.record.guest.name !== record.guest.name,
  )
  const of = { ifname: record.ifname, links: isFirst && state !== undefined ? state.links : undefined }
  const { rules, routes } = await readPolicyRouting(of, pin.netns, system)
  return { policy: { rules, routes: routes.filter(({ dev }) => !names.includes(dev)) } }
}
