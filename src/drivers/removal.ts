import { restoreRouteCommands } from '../network/routes'
import { type Command, guestNetns, ip, ipInGuest, type Plan, sysctlInGuest } from '../plan/step'
import { toAddrAddArgs } from '../state/guest'
import type { LinkRemoval } from './types'

/** Deletes the link. The undo creates it with `restoreLink` and restores its settings, addresses and routes. */
export function planLinkDeletion(removal: LinkRemoval, restoreLink: readonly Command[]): Plan {
  const { record, hostEnd, inGuest } = removal.attachment
  const undo = restoreCommands(removal, restoreLink)
  return [
    {
      description: `detach ${record.ifname} from ${record.guest.name}`,
      command:
        hostEnd === undefined
          ? ipInGuest`link del dev ${inGuest?.name ?? record.ifname}`
          : ip`link del dev ${hostEnd.name}`,
      undo: undo.length === 0 ? undefined : undo,
    },
  ]
}

function restoreCommands(
  { attachment: { inGuest }, guestState, sysctls }: LinkRemoval,
  restoreLink: readonly Command[],
): readonly Command[] {
  if (inGuest === undefined || guestState === undefined) return []
  const { name } = inGuest
  const settings = Object.fromEntries(Object.entries(sysctls).filter(([, value]) => value !== ''))
  const routes = guestState.routes.filter(({ dev, protocol }) => dev === name && protocol !== 'kernel')
  return [
    ...restoreLink,
    ...(Object.keys(settings).length === 0 ? [] : [sysctlInGuest(settings)]),
    ...(inGuest.up ? [ipInGuest`link set dev ${name} up`] : []),
    ...inGuest.addresses
      .filter(({ automatic }) => !automatic)
      .map((address) => ipInGuest`addr add ${toAddrAddArgs(address)} dev ${name}`),
    ...restoreRouteCommands(routes),
  ]
}

/** Deletes a child of a NIC or VLAN device: a macvlan, an ipvlan or an IPoIB interface. */
export function planChildRemoval(removal: LinkRemoval): Plan {
  const { attachment, parent } = removal
  const { inGuest, alias } = attachment
  if (inGuest === undefined || parent === undefined) return planLinkDeletion(removal, [])
  const { name, kind, mac, mtu, mode } = inGuest
  return planLinkDeletion(removal, [
    ip`link add link ${parent.name} name ${name} ${kind === 'macvlan' && ['address', mac]} mtu ${mtu} netns ${guestNetns} type ${kind} ${mode !== undefined && ['mode', mode]}`,
    ipInGuest`link set dev ${name} alias ${alias}`,
  ])
}
