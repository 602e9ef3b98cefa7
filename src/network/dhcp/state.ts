import type { Family } from '../../model/address'
import type { DhcpClient } from '../../model/dhcp-options'
import { fnv1aHash } from '../../model/hash'
import type { LinkRecord } from '../../state/record'
import type { System } from '../../system/types'

/** Where the DHCP clients of this host have their files. */
export const DHCP_DIR = '/run/pipework/dhcp'

/** What runs for one link and one family, as it stands in a file before it starts: no link can hold it. */
export interface DhcpClientSpec {
  readonly family: Family
  readonly guest: LinkRecord['guest']
  /** The interface's name in the guest. */
  readonly ifname: string
  readonly hostif: string
  /** What stood behind the last @: the port's VLANs, or a partition of InfiniBand. */
  readonly tag?: string
  /** The words and options that decide what is asked and applied: other words are another client. */
  readonly wish: readonly string[]
  /** The program; `busybox` is the one of Docker's image. */
  readonly program: DhcpClient | 'image'
  /** Whether it has gone after its first lease. */
  readonly once: boolean
  /** Whether the server's router becomes the default gateway. */
  readonly defaultRoute: boolean
  readonly metric?: number
  /** Where names of servers are written, if they are. */
  readonly resolvConf?: string
  /** What the server knows the guest by, in hexadecimal with colons. */
  readonly clientId: string
  /** The MAC address that was given out with the lease; a guest that is gone has none any more. */
  readonly mac: string
  /** The inode of the guest's network namespace. */
  readonly netns: number
}

/** A route that a server gives (RFC 3442): without a router it is on the link. */
export interface LeasedRoute {
  readonly dst: string
  readonly via?: string
}

/** What a server gave, each value made sure of. */
export interface Lease {
  readonly ip: string
  readonly prefix: number
  /** The default gateway. */
  readonly router?: string
  readonly routes: readonly LeasedRoute[]
  readonly server: string
  /** How long it lasts, in seconds; absent for ever. */
  readonly seconds?: number
  /** When it was given, in seconds since 1970. */
  readonly since: number
  readonly mtu?: number
  readonly domain?: string
  readonly dns: readonly string[]
  /** What the server of DHCPv6 knows the client and its address by, in hexadecimal with colons. */
  readonly identity?: { readonly duid: string; readonly iaid: string }
}

/** A client's directory, with all that is known of it. */
export interface ClientState {
  readonly directory: string
  readonly client: DhcpClientSpec
  readonly lease?: Lease
  /** Whether its keeper runs. */
  readonly isRunning: boolean
  /** Whether the server has taken the lease back, or it ran out. */
  readonly isLost: boolean
  /** The files as they are, by name: what a failed change puts back. */
  readonly files: Readonly<Record<string, string>>
}

/** The files of a client that are ours to write again. */
const CLIENT_FILES = ['client', 'keep', 'hook', 'lease', 'dhclient.conf'] as const

/** A guest as records name it; a process number comes again, and is told apart by when it started. */
export function guestKey({ kind, name, id }: LinkRecord['guest']): string {
  return `${kind}:${name}${kind === 'pid' ? `@${id}` : ''}`
}

/** Where the client of a link has its files: the same after a restart of the guest. */
export function clientDirectory(guest: LinkRecord['guest'], ifname: string, family: Family): string {
  return `${DHCP_DIR}/${fnv1aHash(`${ifname} ${guestKey(guest)} dhcp${family}`)}`
}

/** Whether the process that `<pid>-<start>` names still runs (proc(5), field 22); a zombie does not. */
function isProcessAlive(owner: string | undefined, system: System): boolean {
  const [pid, start] = owner?.split('-') ?? []
  const stat = system.read(`/proc/${pid}/stat`)
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields !== undefined && fields[0] !== 'Z' && fields[19] === start
}

/** The process that keeps the client, while it runs. */
export function supervisorPid(directory: string, system: System): string | undefined {
  const owner = system.read(`${directory}/keeper`)
  return isProcessAlive(owner, system) ? owner?.split('-')[0] : undefined
}

function parseClientFile<T>(text: string | undefined): T | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T)
  } catch {
    return undefined // half written, by a version that is no more
  }
}

/** The client whose files are in that directory. */
export function readClientState(directory: string, system: System): ClientState | undefined {
  const client = parseClientFile<DhcpClientSpec>(system.read(`${directory}/client`))
  if (client === undefined) return undefined
  const lease = parseClientFile<Lease>(system.read(`${directory}/lease`))
  const files = CLIENT_FILES.flatMap((name) => {
    const text = system.read(`${directory}/${name}`)
    return text === undefined ? [] : [[name, text] as const]
  })
  return {
    directory,
    client,
    lease,
    isRunning: supervisorPid(directory, system) !== undefined,
    isLost: system.read(`${directory}/lost`) !== undefined,
    files: Object.fromEntries(files),
  }
}

/** All clients there are, and what is left of those that have gone. */
export function listClientStates(system: System): readonly ClientState[] {
  const names = (system.list(DHCP_DIR) ?? []).filter((name) => /^[0-9a-f]{16}$/.test(name))
  return names.flatMap((name) => readClientState(`${DHCP_DIR}/${name}`, system) ?? [])
}

/** When the lease runs out, in seconds since 1970; Infinity for never. */
export function leaseExpiry({ since, seconds = Number.POSITIVE_INFINITY }: Lease): number {
  return since + seconds
}
