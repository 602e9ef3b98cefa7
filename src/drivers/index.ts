import { PipeworkError } from '../model/errors'
import { parseRouted } from '../model/host-services'
import { isOvsBridge } from '../state/ovsdb'
import type { Context, LinkKind } from './types'

/** A kind of host interface: which ones it serves, and the file that does. */
interface Offer {
  claims(context: Context): boolean
  /** Whether it shares a NIC with others, in one of several ways. */
  readonly isShared?: true
  /** Nobody waits for the kinds that were not asked for. */
  load(): Promise<LinkKind>
}

/** The kinds of host interface; the first that claims one serves it. */
export const LINK_KINDS: readonly Offer[] = [
  {
    claims: ({ request }) => request.direct,
    load: () => import('./phys').then(({ phys }) => phys),
  },
  {
    claims: ({ request, facts }) => isOvsBridge(request.hostif, facts.hostif, facts.ovs),
    load: () => import('./ovs').then(({ ovs }) => ovs),
  },
  {
    claims: ({ request, facts }) =>
      facts.hostif === undefined ? request.hostif.startsWith('br') : facts.hostif.kind === 'bridge',
    load: () => import('./bridge').then(({ bridge }) => bridge),
  },
  {
    claims: ({ facts }) => facts.hostif?.kind === 'infiniband',
    load: () => import('./ipoib').then(({ ipoib }) => ipoib),
  },
  {
    claims: ({ facts: { hostif } }) => hostif !== undefined && hostif.kind !== 'bridge' && hostif.kind !== 'infiniband',
    isShared: true,
    load: () => import('./macvlan').then(({ macvlan }) => macvlan),
  },
  {
    claims: ({ request, facts }) => facts.hostif === undefined && parseRouted(request.hostif) !== undefined,
    load: () => import('./routed').then(({ routed }) => routed),
  },
  {
    claims: ({ request, facts }) => request.hostif === 'dummy' && facts.hostif === undefined,
    load: () => import('./dummy').then(({ dummy }) => dummy),
  },
]

/** The kind that serves the request's host interface. Throws when none does. */
export function findKind(context: Context): Offer {
  const kind = LINK_KINDS.find(({ claims }) => claims(context))
  if (kind === undefined) throw unclaimed(context)
  if (!kind.isShared) refuseSharing(context)
  return kind
}

/** Options that mean nothing here would be taken for done. */
function refuseSharing({ request: { words } }: Context): void {
  const word = words.find((it) => /^--(kind|mode)=/.test(it))
  if (word === undefined) return
  throw new PipeworkError(`'${word}' says how to share a NIC, and none is shared here`, {
    hint: 'Leave it out, or give the name of a NIC in the first place: ip -br link',
  })
}

function unclaimed({ request: { hostif }, facts }: Context): PipeworkError {
  if (facts.away !== undefined)
    return new PipeworkError(`the NIC '${hostif}' is in '${facts.away.guest}'`, {
      hint: `Bring it back first: pipework disconnect ${facts.away.guest}`,
    })
  const near = facts.similar?.length ? `Did you mean ${facts.similar.join(' or ')}?\n` : ''
  const mute = facts.ovs?.kind === 'silent' ? `\nShould it be a bridge of Open vSwitch: ${facts.ovs.message}.` : ''
  return facts.hostif === undefined
    ? new PipeworkError(`there is no interface '${hostif}' on this host`, {
        hint: `${near}A bridge is made when its name begins with br, like br1, or with ovs. See what there is: ip -br link${mute}`,
      })
    : new PipeworkError(`'${hostif}' is neither a bridge nor a NIC`, {
        hint: `See what it is: ip -d link show ${hostif}`,
      })
}
