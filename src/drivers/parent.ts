import { ip, type Step } from '../plan/step'
import type { GuestLink } from '../state/guest'
import { bridgePortsDir, type HostLink } from '../state/host-links'
import { OWNED_ALIAS } from '../state/record'

/** A bridge or VLAN device below links of pipework. */
export interface ParentDevice extends HostLink {
  readonly vlan?: { readonly nic: string; readonly id: number }
}

/** Whether the link in a guest is on that NIC or VLAN device. */
export function isChildOf({ kind, peerIndex }: GuestLink, { ifindex }: HostLink): boolean {
  return kind !== 'veth' && peerIndex === ifindex
}

/** Removes a bridge or VLAN device that pipework created. A bridge that has new ports is kept. */
export function planParentRemoval(parent: ParentDevice): Step {
  const { name, kind, up, mac, filtering, vlan } = parent
  const remove = ip`link del dev ${name}`
  const filteringArgs = filtering === true && ['vlan_filtering', '1', 'vlan_default_pvid', `${parent.defaultPvid}`]
  return {
    description: `remove ${name}: pipework made it, and it is unused`,
    command: kind === 'bridge' ? { ...remove, onlyIfEmpty: bridgePortsDir(name) } : remove,
    undo: [
      vlan === undefined
        ? ip`link add dev ${name} address ${mac} type bridge stp_state 0 ${filteringArgs}`
        : ip`link add link ${vlan.nic} name ${name} type vlan id ${vlan.id}`,
      ip`link set dev ${name} alias ${OWNED_ALIAS}`,
      ...(up ? [ip`link set dev ${name} up`] : []),
    ],
  }
}
