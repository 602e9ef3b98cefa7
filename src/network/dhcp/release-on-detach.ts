import { isOnLink } from '../../model/address'
import { fnv1aHash } from '../../model/hash'
import { type Command, type CommandWord, guestNetns, ip, type Plan } from '../../plan/step'
import { readHostLink } from '../../state/host-links'
import type { LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { planClientRemoval, planClientStop, planLeaseRelease } from './plan'
import { isReleasable } from './release'
import { type ClientState, clientDirectory, leaseExpiry, listClientStates, readClientState } from './state'

/** A link that goes, and the namespace that it is in, if that is still there. */
interface ReleasedLink {
  readonly record: LinkRecord
  /** The inode of the guest's namespace, when it can be reached. */
  readonly netns?: number
}

/** The plan that takes a link away, with what ends its clients before, and gives their addresses back. */
export function planReleaseOnDetach(plan: Plan, { record, netns }: ReleasedLink, system: System): Plan {
  const tenants = ([4, 6] as const).flatMap(
    (family) => readClientState(clientDirectory(record.guest, record.ifname, family), system) ?? [],
  )
  const here = tenants.filter(({ client }) => client.netns === netns)
  return [
    ...tenants.flatMap(planClientStop),
    ...here.flatMap((tenant) => planLeaseRelease(tenant, system.selfCommand)),
    ...plan,
    // Of a guest that is gone the lease is still to be given back, and its files say which.
    ...(netns === undefined ? [] : tenants.flatMap(planClientRemoval)),
  ]
}

/** The clients of guests that are gone: of those that `isMeant` says. */
export function listOrphanedClients(
  isMeant: (client: ClientState['client']) => boolean,
  system: System,
): readonly ClientState[] {
  return listClientStates(system).filter(({ client, isRunning }) => !isRunning && isMeant(client))
}

/** What a guest that is gone is given, to be attached once more where it was. */
export interface ReleaseNamespace {
  /** The namespace that stands in for it. */
  readonly netns: string
  /** The words of the attachment. */
  readonly words: readonly string[]
  readonly options: Readonly<Partial<Record<'i' | 'kind' | 'mode', string>>>
}

/** The attachment from whose address the lease can be given back, while that lasts and its bridge or NIC is there. */
export function toReleaseNamespace(tenant: ClientState, system: System): ReleaseNamespace | undefined {
  const { client, lease, directory } = tenant
  const { hostif, ifname, tag, wish, mac } = client
  if (lease === undefined || leaseExpiry(lease) <= system.now() / 1000 || !isReleasable(tenant)) return undefined
  if (readHostLink(hostif, system) === undefined) return undefined
  const [kind, mode] = ['kind', 'mode'].map((name) =>
    wish.find((word) => word.startsWith(`--${name}=`))?.slice(`--${name}=`.length),
  )
  const netns = `pipework-release-${fnv1aHash(directory).slice(0, 8)}`
  const { ip, prefix, server, router } = lease
  const isFar = client.family === 4 && router !== undefined && !isOnLink({ family: 4, ip, prefix }, server)
  // An ipvlan has the MAC address of its NIC.
  const last = `${kind === 'ipvlan' ? '' : mac}${tag === undefined ? '' : `@${tag}`}`
  return {
    netns,
    words: [hostif, `netns:${netns}`, `${ip}/${prefix}${isFar ? `@${router}` : ''}`, ...(last === '' ? [] : [last])],
    options: { i: ifname, kind, mode },
  }
}

/**
 * A lease is given back from the address that it is of. So a namespace stands in for the guest for a moment, with a link
 * like the one that it had, of which `link` is the plan. All of it is then taken back, as if it had failed.
 */
export function planOrphanRelease(
  { client, lease, directory }: ClientState,
  { netns, link }: Pick<ReleaseNamespace, 'netns'> & { readonly link: Plan },
  system: System,
): Plan {
  const gone = ip`netns del ${netns}`
  const steps = link.map(({ undo = [], ...step }) => ({
    ...step,
    command: redirectToNetns(step.command, netns),
    undo: [undo].flat().map((command) => redirectToNetns(command, netns)),
  }))
  const away = [...steps].reverse().flatMap(({ undo }) => undo)
  const argv = ['ip', 'netns', 'exec', netns, ...system.selfCommand, '__dhcp', 'release', directory]
  // A run that was killed has left it.
  const isLeft = system.inode(`/run/netns/${netns}`) !== undefined
  return [
    ...(isLeft ? [{ description: `remove what stood in for ${client.guest.name} before`, command: gone }] : []),
    {
      description: `make a namespace that stands in for ${client.guest.name}`,
      command: ip`netns add ${netns}`,
      undo: gone,
    },
    ...steps,
    {
      description: `give ${lease?.ip} back to the DHCP${client.family === 6 ? 'v6' : ''} server ${lease?.server}`,
      command: { kind: 'run', in: 'host', argv },
    },
    ...away.map((command) => ({
      description: `take what stood in for ${client.guest.name} off ${client.hostif}`,
      command,
    })),
    { description: `remove what stood in for ${client.guest.name}`, command: gone, undo: ip`netns add ${netns}` },
  ]
}

/** A command of a plan for that namespace, said from outside. */
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
