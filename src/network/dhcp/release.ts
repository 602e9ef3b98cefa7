import { isOnLink } from '../../model/address'
import { fnv1aHash } from '../../model/hash'
import { type Command, type CommandWord, guestNetns, ip, type Plan } from '../../plan/step'
import { readHostLink } from '../../state/host-links'
import type { LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { encodeIp6, encodeRelease4, encodeRelease6 } from './release-packet'
import { type ClientState, clientDirectory, isExpired, isReleasable, listClientStates, readClientState } from './state'
import { planClientRemoval, planClientStop, planLeaseRelease } from './supervisor'

const SERVER_PORT = 67
const SERVER_PORT6 = 547
/** All DHCPv6 servers on a link (RFC 8415). */
const SERVERS6 = 'ff02::1:2'
/** Seconds to resolve the server's MAC address: a packet that still waits is lost with the link. */
const ARP_TIMEOUT = 1
/** Seconds for duplicate address detection, when a lease is released right after it was given. */
const DAD_TIMEOUT = 4

/** A link that is removed. */
interface ReleasedLink {
  readonly record: LinkRecord
  /** The inode of the guest's namespace; undefined when the guest has stopped. */
  readonly netns?: number
}

/** The plan that removes a link, preceded by stopping its DHCP clients and releasing their leases. */
export function planReleaseOnDetach(plan: Plan, { record, netns }: ReleasedLink, system: System): Plan {
  const states = ([4, 6] as const).flatMap(
    (family) => readClientState(clientDirectory(record.guest, record.ifname, family), system) ?? [],
  )
  const inGuest = states.filter(({ client }) => client.netns === netns)
  return [
    ...states.flatMap(planClientStop),
    ...inGuest.flatMap((state) => planLeaseRelease(state, system.selfCommand)),
    ...plan,
    // The lease of a stopped guest is released later; that needs these files.
    ...(netns === undefined ? [] : states.flatMap(planClientRemoval)),
  ]
}

/** The clients of stopped guests that match. */
export function listOrphanedClients(
  matches: (client: ClientState['client']) => boolean,
  system: System,
): readonly ClientState[] {
  return listClientStates(system).filter(({ client, isRunning }) => !isRunning && matches(client))
}

/** An attachment in a temporary namespace, from which the lease of a stopped guest is released. */
export interface ReleaseNamespace {
  readonly netns: string
  /** The arguments of the attach. */
  readonly words: readonly string[]
  readonly options: Readonly<Partial<Record<'i' | 'kind' | 'mode', string>>>
}

/** The attachment that can release the lease; undefined when that has expired, or its bridge or NIC is gone. */
export function toReleaseNamespace(state: ClientState, system: System): ReleaseNamespace | undefined {
  const { client, lease, directory } = state
  const { hostif, ifname, tag, words, mac } = client
  if (lease === undefined || isExpired(lease, system) || !isReleasable(state)) return undefined
  if (readHostLink(hostif, system) === undefined) return undefined
  const [kind, mode] = ['kind', 'mode'].map((name) =>
    words.find((word) => word.startsWith(`--${name}=`))?.slice(`--${name}=`.length),
  )
  const netns = `pipework-release-${fnv1aHash(directory).slice(0, 8)}`
  const { ip, prefix, server, router } = lease
  const isFar = client.family === 4 && router !== undefined && !isOnLink({ family: 4, ip, prefix }, server)
  // An ipvlan has the MAC address of its NIC, which cannot be set.
  const last = `${kind === 'ipvlan' ? '' : mac}${tag === undefined ? '' : `@${tag}`}`
  return {
    netns,
    words: [hostif, `netns:${netns}`, `${ip}/${prefix}${isFar ? `@${router}` : ''}`, ...(last === '' ? [] : [last])],
    options: { i: ifname, kind, mode },
  }
}

/**
 * Releases the lease of a stopped guest: a release must come from the leased address. `link` is the plan of the same link
 * in a temporary namespace, which is undone afterwards.
 */
export function planOrphanRelease(
  { client, lease, directory }: ClientState,
  { netns, link }: Pick<ReleaseNamespace, 'netns'> & { readonly link: Plan },
  system: System,
): Plan {
  const remove = ip`netns del ${netns}`
  const steps = link.map(({ undo = [], ...step }) => ({
    ...step,
    command: redirectToNetns(step.command, netns),
    undo: [undo].flat().map((command) => redirectToNetns(command, netns)),
  }))
  const undoSteps = [...steps].reverse().flatMap(({ undo }) => undo)
  const argv = ['ip', 'netns', 'exec', netns, ...system.selfCommand, '__dhcp', 'release', directory]
  // From a run that was killed.
  const isLeftover = system.inode(`/run/netns/${netns}`) !== undefined
  return [
    ...(isLeftover
      ? [{ description: `delete a leftover namespace for the release of ${client.guest.name}`, command: remove }]
      : []),
    {
      description: `create a namespace to release the lease of ${client.guest.name}`,
      command: ip`netns add ${netns}`,
      undo: remove,
    },
    ...steps,
    {
      description: `release ${lease?.ip} to the DHCP${client.family === 6 ? 'v6' : ''} server ${lease?.server}`,
      command: { kind: 'run', in: 'host', argv },
    },
    ...undoSteps.map((command) => ({
      description: `delete the temporary link from ${client.hostif}`,
      command,
    })),
    { description: 'remove the namespace for the release', command: remove, undo: ip`netns add ${netns}` },
  ]
}

/** The command of a plan, run in that namespace. */
function redirectToNetns(command: Command, netns: string): Command {
  const fill = (words: readonly CommandWord[]) => words.map((word) => (word === guestNetns ? netns : word))
  if (command.kind === 'ip') {
    const words = fill(command.words)
    return command.in === 'host'
      ? { ...command, words }
      : { ...command, in: 'host', words: ['netns', 'exec', netns, 'ip', ...words] }
  }
  if (command.kind !== 'run') return command
  const argv = fill(command.argv)
  return { ...command, in: 'host', argv: command.in === 'host' ? argv : ['ip', 'netns', 'exec', netns, ...argv] }
}

/**
 * Sends a release to the server, from a namespace that has the leased address. pipework sends it for every client,
 * because a killed client cannot.
 */
export async function sendRelease(directory: string, system: System): Promise<void> {
  const state = readClientState(directory, system)
  if (state?.lease === undefined || !isReleasable(state)) return
  const { lease, client } = state
  const { ip, server, identity } = lease
  if (client.family === 6) {
    if (identity === undefined) return
    const to = `${SERVERS6}%${client.ifname}`
    await waitUntil(() => isAddressUsable(ip, system), DAD_TIMEOUT, system)
    await system.sendUdp(encodeRelease6({ ip, server, ...identity }), { from: ip, to, port: SERVER_PORT6 })
    return
  }
  await system.sendUdp(encodeRelease4({ ip, server, mac: client.mac, clientId: client.clientId }), {
    from: ip,
    to: server,
    port: SERVER_PORT,
  })
  await waitUntil(() => isArpResolved(system), ARP_TIMEOUT, system)
}

async function waitUntil(condition: () => boolean, limit: number, system: System): Promise<void> {
  const deadline = system.elapsed() + limit * 1000
  while (!condition() && system.elapsed() < deadline) await system.sleep(0.02)
}

/** Whether the kernel can send from the address: not while it is tentative (flag 0x40). */
function isAddressUsable(ip: string, system: System): boolean {
  const hex = encodeIp6(ip)
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
  const line = system
    .read('/proc/self/net/if_inet6')
    ?.split('\n')
    .find((it) => it.startsWith(hex))
  const flags = Number.parseInt(line?.trim().split(/\s+/)[4] ?? '0', 16)
  return (flags & 0x40) === 0
}

/** Whether ARP has resolved all neighbours (flag 2). */
function isArpResolved(system: System): boolean {
  const lines = system.read('/proc/self/net/arp')?.split('\n').slice(1) ?? []
  return lines.every((line) => line.trim().split(/\s+/)[2] !== '0x0')
}
