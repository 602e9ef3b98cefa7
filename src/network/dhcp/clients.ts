import type { Family } from '../../model/address'
import type { DhcpClient } from '../../model/dhcp-options'
import dhclientAppArmor from './dhclient-apparmor.sh?raw'
import dhcpcdMounts from './dhcpcd-mounts.sh?raw'

/** A client that pipework can run; `image` is udhcpc of Docker's busybox image. */
export type DhcpProgramName = DhcpClient | 'image'

/** What the command line of a client is made from. */
export interface ClientOptions {
  readonly directory: string
  readonly ifname: string
  readonly family: Family
  /** The program's own words: busybox has several names. */
  readonly command: readonly string[]
  /** Options of the user. */
  readonly options: readonly string[]
  /** The host name for the server. */
  readonly hostname?: string
  /** Hexadecimal with colons. */
  readonly clientId: string
  /** Whether the server must answer by broadcast: its unicast would not reach the guest. */
  readonly broadcast: boolean
  /** Whether AppArmor restricts dhclient to the paths of Debian's own files. */
  readonly confined: boolean
  /** The id of the guest's container, for the image. */
  readonly container?: string
}

/** A file that the client reads, in its directory. */
export interface ClientFile {
  readonly name: string
  readonly text: string
}

/** A DHCP client as data. */
interface ClientDescription {
  /** In messages. */
  readonly title: string
  /** The Debian package. */
  readonly package: string
  readonly families: readonly Family[]
  /** Leases shorter than this many seconds are renewed by pipework: the client itself would do so too late. */
  readonly minLease: number
  argv(options: ClientOptions): readonly string[]
  files(options: ClientOptions): readonly ClientFile[]
}

/** The client's hook, which the supervisor may have to run from another path. */
const hookPath = (directory: string) => `${directory}/hook`
const stripColons = (hex: string) => hex.replaceAll(':', '')

/** Mounts and processes of its own, which end with their first process; that one ends with the supervisor. */
const UNSHARE_ARGV = [
  ...['unshare', '--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'],
] as const

function udhcpcArgv(options: ClientOptions): readonly string[] {
  const { command, directory, ifname, hostname, clientId, broadcast } = options
  return [
    ...command,
    ...['-f', '-i', ifname, '-s', hookPath(directory), '-t', '3', '-T', '2', '-A', '3'],
    ...(hostname === undefined ? [] : ['-x', `hostname:${hostname}`]),
    ...['-C', '-x', `0x3d:${stripColons(clientId)}`],
    ...(broadcast ? ['-B'] : []),
    // Options 121 and 249 (Microsoft): classless routes.
    ...['-O', 'staticroutes', '-O', 'msstaticroutes'],
    ...options.options,
  ]
}

/** Joins the guest's network; the hook writes into the directory through a volume. */
function imageArgv(options: ClientOptions): readonly string[] {
  const { directory, container = '' } = options
  const hook = hookPath(directory)
  return [
    ...['docker', 'run', '--rm', '--name', dhcpContainerName(directory), '--network', `container:${container}`],
    ...['--cap-add', 'NET_ADMIN', '--volume', `${directory}:${directory}`, '--volume', `${hook}:${hook}:ro`],
    ...['--env', `PIPEWORK_DHCP=${directory}`],
    ...['busybox', ...udhcpcArgv({ ...options, command: ['udhcpc'] })],
  ]
}

/** The name of the container in which the image's client runs. */
export function dhcpContainerName(directory: string): string {
  return `pipework-dhcp-${directory.slice(directory.lastIndexOf('/') + 1)}`
}

function dhclientArgv({ command, directory, ifname, family, confined, options }: ClientOptions): readonly string[] {
  const hook = hookPath(directory)
  const wrapper = [...UNSHARE_ARGV, 'sh', `${directory}/mounts`, directory, hook]
  const paths = confined
    ? { leases: '/var/lib/dhcp', conf: '/etc/dhcp', script: '/sbin/dhclient-script' }
    : { leases: directory, conf: directory, script: hook }
  return [
    ...(confined ? wrapper : []),
    ...[...command, `-${family}`, '-d', '--no-pid', '-e', `PIPEWORK_DHCP=${directory}`, '-sf', paths.script],
    ...['-lf', `${paths.leases}/dhclient.leases`, '-cf', `${paths.conf}/dhclient.conf`],
    ...options,
    ifname,
  ]
}

function dhclientConf({ hostname, clientId }: ClientOptions): string {
  return [
    'option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;',
    'request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, interface-mtu, rfc3442-classless-static-routes, dhcp6.name-servers;',
    `send dhcp-client-identifier ${clientId};`,
    ...(hostname === undefined ? [] : [`send host-name "${hostname}";`]),
    'initial-interval 1; backoff-cutoff 8; retry 5; select-timeout 0; reboot 2;',
  ].join('\n')
}

const DHCPCD_REQUESTS = {
  4: 'subnet_mask,broadcast_address,routers,domain_name_servers,domain_name,classless_static_routes,interface_mtu',
  6: 'dhcp6_name_servers,dhcp6_domain_search',
} as const

function dhcpcdArgv(options: ClientOptions): readonly string[] {
  const { command, directory, ifname, family, hostname, clientId, broadcast } = options
  return [
    ...[...UNSHARE_ARGV, 'sh', `${directory}/mounts`, directory, toDuid(clientId)],
    ...[...command, `-${family}`, '-B', '-f', family === 4 ? '/dev/null' : `${directory}/dhcpcd.conf`],
    ...['-L', '--noarp', '--nodelay', '--noconfigure', '-c', hookPath(directory)],
    ...['-e', `PIPEWORK_DHCP=${directory}`, '-o', DHCPCD_REQUESTS[family]],
    ...(hostname === undefined ? [] : ['-h', hostname]),
    ...(family === 4 ? ['-I', clientId] : []),
    ...(broadcast ? ['--broadcast'] : []),
    ...options.options,
    ifname,
  ]
}

/** A DHCPv6 client identifier (RFC 6355: type 4, sixteen bytes). */
function toDuid(clientId: string): string {
  return `00:04:${clientId}:${clientId}`.slice(0, 3 * 18 - 1)
}

/** The clients. `dhcp` uses the first that is installed, in this order. */
export const DHCP_CLIENT_TABLE: Readonly<Record<DhcpProgramName, ClientDescription>> = {
  udhcpc: {
    title: 'udhcpc',
    package: 'udhcpc',
    families: [4],
    minLease: 60,
    argv: udhcpcArgv,
    files: () => [],
  },
  dhcpcd: {
    title: 'dhcpcd',
    package: 'dhcpcd-base',
    families: [4, 6],
    minLease: 20,
    argv: dhcpcdArgv,
    files: ({ family }) => [
      { name: 'mounts', text: dhcpcdMounts.trimEnd() },
      ...(family === 6 ? [{ name: 'dhcpcd.conf', text: 'noipv6rs\nia_na 1' }] : []),
    ],
  },
  dhclient: {
    title: 'dhclient',
    package: 'isc-dhcp-client',
    families: [4, 6],
    minLease: 0,
    argv: dhclientArgv,
    files: (options) => [
      { name: 'dhclient.conf', text: dhclientConf(options) },
      ...(options.confined ? [{ name: 'mounts', text: dhclientAppArmor.trimEnd() }] : []),
    ],
  },
  image: {
    title: 'udhcpc of the busybox image',
    package: 'docker.io',
    families: [4],
    minLease: 60,
    argv: imageArgv,
    files: () => [],
  },
}
