import { ip, type Plan, type Step } from '../../plan/step'
import type { HostState } from '../../state/host'

/** Makes the NIC a port of the bridge. */
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

/** Takes the NIC out of its bridge. */
export function clearMaster(nic: string): Step {
  return { description: `take ${nic} out of its bridge`, command: ip`link set dev ${nic} nomaster` }
}

/** Flushes the neighbour cache, because after a move the neighbours are behind another link. */
export function flushNeighbours(name: string): Step {
  return { description: `flush the neighbour cache of ${name}`, command: ip`neigh flush dev ${name}` }
}

/** Makes the kernel look up a neighbour; the answer is in the neighbour cache. */
export function probeNeighbour(address: string, dev: string): Step {
  return { description: `look up ${address} on ${dev}`, command: ip`neigh replace ${address} dev ${dev} use` }
}

/** Changes a link attribute: `up`, or a setting with its value. */
export function setLink(name: string, words: readonly string[]): Step {
  const [setting, ...value] = words
  const description =
    value.length === 0 ? `bring ${name} ${setting}` : `set ${setting} of ${name} to ${value.join(' ')}`
  return { description, command: ip`link set dev ${name} ${words}` }
}

/** Sets how the kernel generates the link-local address; empty when the kernel has no IPv6. */
export function setAddrGenMode(name: string, mode: string, { links }: HostState): Plan {
  return links.get('lo')?.addrGenMode === undefined ? [] : [setLink(name, ['addrgenmode', mode])]
}

/** Turns LRO on again: the kernel turns it off on bridge ports, and never restores it. */
export function enableLro(name: string): Step {
  return {
    description: `turn on large receive offload of ${name}`,
    command: { kind: 'run', in: 'host', argv: ['ethtool', '-K', name, 'large-receive-offload', 'on'] },
  }
}

/** Whether the bridge has ports other than this NIC. */
export function hasOtherPorts(bridge: string, nic: string, { links }: HostState): boolean {
  return [...links.values()].some(({ name, master }) => master === bridge && name !== nic)
}
