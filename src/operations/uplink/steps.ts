import { ip, type Plan, type Step } from '../../plan/step'
import type { HostState } from '../../state/host'

/** The step that makes the NIC a port of the bridge. */
export function setMaster(nic: string, bridge: string): Step {
  return {
    description: `put ${nic} into ${bridge}`,
    command: ip`link set dev ${nic} master ${bridge}`,
    explainFailure: ({ stderr }) =>
      /busy/i.test(stderr)
        ? {
            message: `another link takes the frames of '${nic}', so it cannot be put into '${bridge}'`,
            hint: 'For instance a macvlan or ipvlan in a container. Nothing was changed.',
          }
        : undefined,
  }
}

/** The step that takes the NIC out of its bridge. */
export function clearMaster(nic: string): Step {
  return { description: `take ${nic} out of its bridge`, command: ip`link set dev ${nic} nomaster` }
}

/** After a move the neighbours are behind another link. */
export function flushNeighbours(name: string): Step {
  return { description: `flush the neighbour cache of ${name}`, command: ip`neigh flush dev ${name}` }
}

/** The step that has the kernel look up a neighbour; the answer is in its cache. */
export function probeNeighbour(address: string, dev: string): Step {
  return { description: `look up ${address} on ${dev}`, command: ip`neigh replace ${address} dev ${dev} use` }
}

/** A change of a link itself: `up`, or a setting and its value. */
export function setLink(name: string, words: readonly string[]): Step {
  const [setting, ...value] = words
  const description =
    value.length === 0 ? `bring ${name} ${setting}` : `set ${setting} of ${name} to ${value.join(' ')}`
  return { description, command: ip`link set dev ${name} ${words}` }
}

/** How the kernel makes the link's link-local address; no step where the kernel has no IPv6. */
export function setAddrGenMode(name: string, mode: string, { links }: HostState): Plan {
  return links.get('lo')?.addrGenMode === undefined ? [] : [setLink(name, ['addrgenmode', mode])]
}

/** The kernel turns it off on ports of a bridge, and never on again. */
export function enableLro(name: string): Step {
  return {
    description: `turn on large receive offload of ${name}`,
    command: { kind: 'run', in: 'host', argv: ['ethtool', '-K', name, 'large-receive-offload', 'on'] },
  }
}

/** Whether a bridge has ports beside this one. */
export function hasOtherPorts(bridge: string, nic: string, { links }: HostState): boolean {
  return [...links.values()].some(({ name, master }) => master === bridge && name !== nic)
}
