import type { Family } from '../../model/address'
import { fnv1aHash } from '../../model/hash'
import type { LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import type { DhcpProgramName } from './clients'

/** The directories of the DHCP clients. */
export const DHCP_DIR = '/run/pipework/dhcp'

/** The DHCP client of one link and family, as its file records it. */
export interface DhcpClientSpec {
  readonly family: Family
  readonly guest: LinkRecord['guest']
  readonly ifname: string
  readonly hostif: string
  /** The text after the last @: VLANs, or an InfiniBand partition. */
  readonly tag?: string
  /** The address source and the other words of the request: with other words, the client is restarted. */
  readonly words: readonly string[]
  readonly program: DhcpProgramName
  /** Whether it ends after its first lease. */
  readonly once: boolean
  /** Whether the server's router becomes the default gateway. */
  readonly defaultRoute: boolean
  readonly metric?: number
  /** The resolv.conf to update with the DNS servers of the lease. */
  readonly resolvConf?: string
  /** Hexadecimal with colons. */
  readonly clientId: string
  /** The MAC address that the lease was given to. */
  readonly mac: string
  /** The inode of the guest's network namespace. */
  readonly netns: number
}

/** A route of a lease (RFC 3442); on-link without `via`. */
export interface LeasedRoute {
  readonly dst: string
  readonly via?: string
}

/** A validated lease. */
export interface Lease {
  readonly ip: string
  readonly prefix: number
  /** The default gateway. */
  readonly router?: string
  readonly routes: readonly LeasedRoute[]
  readonly server: string
  /** Its duration; absent when it never expires. */
  readonly seconds?: number
  /** When it was given, in seconds since the boot: the clock may jump. */
  readonly since: number
  readonly mtu?: number
  readonly domain?: string
  readonly dns: readonly string[]
  /** How a DHCPv6 server identifies client and address, in hexadecimal with colons. */
  readonly identity?: { readonly duid: string; readonly iaid: string }
}

/** The state of a client, from its directory. */
export interface ClientState {
  readonly directory: string
  readonly client: DhcpClientSpec
  readonly lease?: Lease
  /** Whether its supervisor runs. */
  readonly isRunning: boolean
  /** Whether the lease was withdrawn or has expired. */
  readonly isLost: boolean
  /** The content of its files by name, for a rollback. */
  readonly files: Readonly<Record<string, string>>
}

/** The files that a rollback restores. */
const CLIENT_FILES = ['client', 'keep', 'arguments', 'hook', 'mounts', 'lease', 'dhclient.conf', 'dhcpcd.conf'] as const

/** A key for a guest. A process id may be reused, so its key includes the start time. */
export function guestKey({ kind, name, id }: LinkRecord['guest']): string {
  return `${kind}:${name}${kind === 'pid' ? `@${id}` : ''}`
}

/** The directory of a link's client: unchanged after a restart of the guest. */
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

/** The process id of the client's supervisor, while it runs. */
export function supervisorPid(directory: string, system: System): string | undefined {
  const owner = system.read(`${directory}/keeper`)
  return isProcessAlive(owner, system) ? owner?.split('-')[0] : undefined
}

function parseClientFile<T>(text: string | undefined): T | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T)
  } catch {
    return undefined // written by another version
  }
}

/** Earlier versions called the words `wish`. */
function parseClientSpec(text: string | undefined): DhcpClientSpec | undefined {
  const client = parseClientFile<DhcpClientSpec & { readonly wish?: readonly string[] }>(text)
  if (client === undefined) return undefined
  const { wish = [], ...spec } = client
  return { ...spec, words: spec.words ?? wish }
}

/** Earlier versions recorded the clock time. */
function parseLease(text: string | undefined, system: System): Lease | undefined {
  const lease = parseClientFile<Lease>(text)
  const uptime = bootSeconds(system)
  if (lease === undefined || lease.since <= uptime) return lease
  return { ...lease, since: lease.since - Math.floor(system.now() / 1000) + uptime }
}

export function readClientState(directory: string, system: System): ClientState | undefined {
  const client = parseClientSpec(system.read(`${directory}/client`))
  if (client === undefined) return undefined
  const lease = parseLease(system.read(`${directory}/lease`), system)
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

/** All clients, also those that have ended. */
export function listClientStates(system: System): readonly ClientState[] {
  const names = (system.list(DHCP_DIR) ?? []).filter((name) => /^[0-9a-f]{16}$/.test(name))
  return names.flatMap((name) => readClientState(`${DHCP_DIR}/${name}`, system) ?? [])
}

/** Seconds since the boot, including suspend. */
export function bootSeconds(system: System): number {
  return Math.floor(Number.parseFloat(system.read('/proc/uptime') ?? '0'))
}

/** When the lease expires, in seconds since the boot; Infinity for never. */
export function leaseExpiry({ since, seconds = Number.POSITIVE_INFINITY }: Lease): number {
  return since + seconds
}

export function isExpired(lease: Lease, system: System): boolean {
  return leaseExpiry(lease) <= bootSeconds(system)
}

/** Whether the lease can be released: the server's identity is known. */
export function isReleasable({ lease, client }: Pick<ClientState, 'lease' | 'client'>): boolean {
  return (lease?.server ?? '') !== '' && (client.family === 4 || lease?.identity !== undefined)
}
