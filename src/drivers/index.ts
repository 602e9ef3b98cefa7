import { PipeworkError } from '../model/errors'
import { parseRouted } from '../model/routed'
import type { AttachContext } from '../state/attach-facts'
import { isOvsBridge } from '../state/ovsdb'
import type { LinkDriver } from './types'

/** A kind of host interface: which ones it serves, and the file that does. */
interface DriverEntry {
  matches(context: AttachContext): boolean
  /** Whether it shares a NIC with others, in one of several ways. */
  readonly sharesNic?: true
  /** Nobody waits for the kinds that were not asked for. */
  load(): Promise<LinkDriver>
}

/** The kinds of host interface; the first that claims one serves it. */
export const DRIVERS: readonly DriverEntry[] = [
  {
    matches: ({ request }) => request.direct,
    load: () => import('./phys').then(({ physDriver }) => physDriver),
  },
  {
    matches: ({ request, facts }) => isOvsBridge(request.hostif, facts.hostif, facts.ovs),
    load: () => import('./ovs').then(({ ovsDriver }) => ovsDriver),
  },
  {
    matches: ({ request, facts }) =>
      facts.hostif === undefined ? request.hostif.startsWith('br') : facts.hostif.kind === 'bridge',
    load: () => import('./bridge').then(({ bridgeDriver }) => bridgeDriver),
  },
  {
    matches: ({ facts }) => facts.hostif?.kind === 'infiniband',
    load: () => import('./ipoib').then(({ ipoibDriver }) => ipoibDriver),
  },
  {
    matches: ({ facts: { hostif } }) =>
      hostif !== undefined && hostif.kind !== 'bridge' && hostif.kind !== 'infiniband',
    sharesNic: true,
    load: () => import('./macvlan').then(({ macvlanDriver }) => macvlanDriver),
  },
  {
    matches: ({ request, facts }) => facts.hostif === undefined && parseRouted(request.hostif) !== undefined,
    load: () => import('./routed').then(({ routedDriver }) => routedDriver),
  },
  {
    matches: ({ request, facts }) => request.hostif === 'dummy' && facts.hostif === undefined,
    load: () => import('./dummy').then(({ dummyDriver }) => dummyDriver),
  },
]

/** The kind that serves the request's host interface. Throws when none does. */
export function findDriver(context: AttachContext): DriverEntry {
  const kind = DRIVERS.find(({ matches }) => matches(context))
  if (kind === undefined) throw noDriverError(context)
  if (!kind.sharesNic) validateSharing(context)
  return kind
}

/** Options that mean nothing here would be taken for done. */
function validateSharing({ request: { words } }: AttachContext): void {
  const word = words.find((it) => /^--(kind|mode)=/.test(it))
  if (word === undefined) return
  throw new PipeworkError(`'${word}' says how to share a NIC, and none is shared here`, {
    hint: 'Leave it out, or give the name of a NIC in the first place: ip -br link',
  })
}

function noDriverError({ request: { hostif }, facts }: AttachContext): PipeworkError {
  if (facts.nicElsewhere !== undefined)
    return new PipeworkError(`the NIC '${hostif}' is in '${facts.nicElsewhere.guest}'`, {
      hint: `Bring it back first: pipework disconnect ${facts.nicElsewhere.guest}`,
    })
  const near = facts.similarNames?.length ? `Did you mean ${facts.similarNames.join(' or ')}?\n` : ''
  const mute = facts.ovs?.kind === 'silent' ? `\nShould it be a bridge of Open vSwitch: ${facts.ovs.message}.` : ''
  return facts.hostif === undefined
    ? new PipeworkError(`there is no interface '${hostif}' on this host`, {
        hint: `${near}A bridge is made when its name begins with br, like br1, or with ovs. See what there is: ip -br link${mute}`,
      })
    : new PipeworkError(`'${hostif}' is neither a bridge nor a NIC`, {
        hint: `See what it is: ip -d link show ${hostif}`,
      })
}
