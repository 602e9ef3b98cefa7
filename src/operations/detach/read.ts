import { mayHaveOutside } from '../../model/host-services'
import { readPort } from '../../state/bridge-vlans'
import { findLower, type GuestState, readSysctls } from '../../state/guest'
import type { OvsDatabase } from '../../state/ovsdb'
import { mayHaveRules, readPolicy } from '../../state/policy-rules'
import { readNic } from '../../state/saved-link'
import type { Host, Pin } from '../../system/types'
import type { Wanted } from '../look'
import { findVacancy } from './gc'
import type { Attached, Detachment } from './plan'

interface Known extends Pick<Detachment, 'attached' | 'others'> {
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
  /** Taken away by the plans before this one, and still there: it is a dry run. */
  readonly gone: readonly Attached[]
  /** Those that leave with this one, itself among them, and whose needs of the host end with it. */
  readonly leaving: readonly Attached[]
}

/** What the host no longer needs; who has only links has nothing there. */
async function planLeaving({ leaving }: Known, host: Host): Promise<Pick<Detachment, 'release'>> {
  if (leaving.length === 0 || !mayHaveOutside(host)) return {}
  const { planRelease } = await import('../../network/host-services')
  return { release: await planRelease(leaving, host) }
}

/** What there is to know of an attachment before it is taken away. */
export async function gather(known: Known, { reached }: Wanted, host: Host): Promise<Detachment> {
  const { attached, others, state, gone, ovs } = known
  const { inGuest, hostEnd, deadPort } = attached
  const parent = findLower(inGuest, host)
  const pin = reached.guest === undefined ? undefined : reached.pin
  const [port, sysctls, policy, leaving, vacancy] = await Promise.all([
    hostEnd === undefined ? undefined : readPort(hostEnd, 'filtering', host),
    pin === undefined || inGuest === undefined ? {} : readSysctls(inGuest.name, pin.netns, host),
    gatherPolicy(known, pin, host),
    planLeaving(known, host),
    findVacancy({ hostEnd, parent, deadPort, ovs }, gone, host),
  ])
  const nic = attached.record.nic === undefined ? undefined : readNic(attached.record.nic, host)
  return {
    attached,
    others,
    state,
    sysctls,
    port,
    parent,
    nic,
    ...policy,
    ...leaving,
    ...vacancy,
  }
}

/** The rules of an attachment that was made with --policy-route, and of links that somebody has deleted. */
async function gatherPolicy(
  { attached, gone, state }: Known,
  pin: Pin | undefined,
  host: Host,
): Promise<Pick<Detachment, 'policy'>> {
  const { inGuest, record } = attached
  if (pin === undefined || inGuest === undefined) return {}
  if (!record.words.includes('--policy-route') && !mayHaveRules(host, pin.netns)) return {}
  const names = gone.map((it) => it.inGuest?.name)
  // On a dry run the plans before this one have taken their links' routes, and the rules of links that are gone.
  const isFirst = gone.every(
    (it) => it.record.guest.kind !== record.guest.kind || it.record.guest.name !== record.guest.name,
  )
  const of = { ifname: record.ifname, links: isFirst && state !== undefined ? state.links : undefined }
  const { rules, routes } = await readPolicy(of, pin.netns, host)
  return { policy: { rules, routes: routes.filter(({ dev }) => !names.includes(dev)) } }
}
