import type { System } from '../system/types'

/** A program that manages a link. */
export interface ManagedLink {
  readonly link: string
  readonly program: 'NetworkManager' | 'systemd-networkd'
  readonly evidence: string
  /** Its own configuration file for the link, if it names one. */
  readonly file?: string
}

interface LinkRef {
  readonly name: string
  readonly ifindex: number
}

/** The device states that NetworkManager reports, by name: its files are outdated after a restart. */
async function readNmStates(system: System): Promise<ReadonlyMap<string, string>> {
  if (!system.hasProgram('nmcli')) return new Map()
  const argv = ['env', 'LC_ALL=C', 'nmcli', '--terse', '--fields', 'GENERAL.DEVICE,GENERAL.STATE', 'device', 'show']
  const { stdout } = await system.run(argv, NMCLI_TIMEOUT).catch(() => ({ stdout: '' }))
  return new Map(
    [...stdout.matchAll(/^GENERAL.DEVICE:(.*)\nGENERAL.STATE:(.*)$/gm)].map(([, name = '', it = '']) => [name, it]),
  )
}

/** Seconds to wait for NetworkManager's answer. */
const NMCLI_TIMEOUT = 5

/** The links that NetworkManager manages. It only watches links that other programs created; those are excluded. */
async function readNmLinks(links: readonly LinkRef[], system: System): Promise<readonly ManagedLink[]> {
  const path = ({ ifindex }: LinkRef) => `/run/NetworkManager/devices/${ifindex}`
  const likely = links.filter((it) => /^(managed=true|connection-uuid=.+)$/m.test(system.read(path(it)) ?? ''))
  const states = likely.length === 0 ? new Map<string, string>() : await readNmStates(system)
  return likely.flatMap((it) => {
    const state = states.get(it.name)
    if (state !== undefined && /\bunmanaged\b|externally/.test(state)) return []
    return [
      {
        link: it.name,
        program: 'NetworkManager',
        evidence: `${path(it)}: managed${state === undefined ? '' : `, ${state}`}`,
      },
    ]
  })
}

/** The same for systemd-networkd, which also claims links that it failed to configure. */
function readNetworkdLinks(links: readonly LinkRef[], system: System): readonly ManagedLink[] {
  return links.flatMap(({ name, ifindex }) => {
    const path = `/run/systemd/netif/links/${ifindex}`
    const text = system.read(path) ?? ''
    const state = /^ADMIN_STATE=(.*)$/m.exec(text)?.[1]
    if (state === undefined || state === 'unmanaged') return []
    const file = /^NETWORK_FILE=(.+)$/m.exec(text)?.[1]
    return [{ link: name, program: 'systemd-networkd', evidence: `${path}: ${state}`, file }]
  })
}

/** The programs that manage these links. */
export async function readManagedLinks(links: readonly LinkRef[], system: System): Promise<readonly ManagedLink[]> {
  return [...readNetworkdLinks(links, system), ...(await readNmLinks(links, system))]
}

/** A program that manages a NIC and would undo our changes. */
export interface LinkManager {
  readonly name: string
  /** A file that makes it ignore the NIC until the next boot, if it supports that. */
  readonly dropIn?: { readonly path: string; readonly text: string }
  /** The equivalent setting in the program itself. */
  readonly recipe: string
}

interface UplinkNames {
  readonly nic: string
  readonly bridge: string
}

// All in /run: the next boot removes the bridge, and then the NIC must be managed as usual.
function toLinkManager({ program, file = '' }: ManagedLink, { nic, bridge }: UplinkNames): LinkManager {
  if (program === 'NetworkManager')
    return {
      name: program,
      dropIn: {
        path: `/run/NetworkManager/conf.d/90-pipework-${bridge}.conf`,
        text: `[keyfile]\nunmanaged-devices+=interface-name:${nic};interface-name:${bridge}`,
      },
      recipe: `nmcli connection add type bridge ifname ${bridge} stp no && nmcli connection add type ethernet slave-type bridge ifname ${nic} master ${bridge}`,
    }
  const isNetplan = file.includes('netplan')
  return {
    name: isNetplan ? 'netplan (by systemd-networkd)' : program,
    dropIn: {
      // The first of its files by name takes precedence.
      path: `/run/systemd/network/0-pipework-${bridge}.network`,
      text: `[Match]\nName=${nic} ${bridge}\n\n[Link]\nUnmanaged=yes`,
    },
    recipe: isNetplan
      ? `in /etc/netplan: bridges: { ${bridge}: { interfaces: [${nic}], addresses: […] } }, then netplan try`
      : `in /etc/systemd/network: [NetDev] Name=${bridge} Kind=bridge, and Bridge=${bridge} in the [Network] of ${nic}`,
  }
}

/**
 * The command that makes the program read such a file. A running NetworkManager takes down a link that it must ignore;
 * a restarted one leaves the link up.
 */
export function reloadCommandFor(dropIn: string): string {
  return dropIn.startsWith('/run/NetworkManager/') ? 'systemctl restart NetworkManager' : 'networkctl reload'
}

function findIfupdown({ nic, bridge }: UplinkNames, system: System): readonly LinkManager[] {
  const states = [system.read('/run/network/ifstate'), system.read(`/run/network/ifstate.${nic}`)]
  if (!states.some((state) => state?.split(/\s+/).some((word) => word.split('=')[0] === nic))) return []
  return [
    { name: 'ifupdown', recipe: `in /etc/network/interfaces: iface ${bridge} inet static, with bridge_ports ${nic}` },
  ]
}

/** The programs that manage the NIC, and how to make each ignore it. */
export async function findLinkManagers(
  names: UplinkNames & { readonly ifindex: number },
  system: System,
): Promise<readonly LinkManager[]> {
  const managers = await readManagedLinks([{ name: names.nic, ifindex: names.ifindex }], system)
  return [...managers.map((it) => toLinkManager(it, names)), ...findIfupdown(names, system)]
}

const DHCP_CLIENTS = ['dhclient', 'dhcpcd', 'udhcpc', 'pump', 'dhcp6c']

/** Describes the DHCP client of the NIC; a dhcpcd without an interface serves all. */
export function findDhcpClient(nic: string, system: System): string | undefined {
  const netns = system.inode('/proc/self/ns/net')
  for (const pid of (system.list('/proc') ?? []).filter((name) => /^\d+$/.test(name))) {
    const argv = system.read(`/proc/${pid}/cmdline`)?.split('\0') ?? []
    // busybox udhcpc, and `dhcpcd: eth0 [ip4]`, its process title.
    const client = argv
      .slice(0, 2)
      .map((word) => word.slice(word.lastIndexOf('/') + 1).split(':')[0] ?? '')
      .find((name) => DHCP_CLIENTS.includes(name))
    // Helper processes of dhcpcd do not name their interface.
    if (client === undefined || /^dhcpcd: \[(?!manager|master)/.test(argv[0] ?? '')) continue
    if (system.inode(`/proc/${pid}/ns/net`) !== netns) continue
    // A process title is one word, followed by many zero bytes.
    const words = argv.flatMap((word) => word.split(/\s+/)).filter(Boolean)
    const serves = words.includes(nic) || words.includes(`-i${nic}`) || words.includes(`--interface=${nic}`)
    const servesAll = client === 'dhcpcd' && !words.slice(1).some((word) => system.inode(`/sys/class/net/${word}`))
    if (serves || servesAll) return `${client} (process ${pid})`
  }
  return undefined
}

/**
 * The address from which the user is connected over SSH. sudo hides it from pipework, but not from its parent
 * processes.
 */
export function findSshClient(system: System): string | undefined {
  const own = system.env.SSH_CONNECTION
  if (own !== undefined) return own.split(' ')[0]
  let pid = `${system.pid}`
  while (pid !== '' && pid !== '0' && pid !== '1') {
    const environment = system.read(`/proc/${pid}/environ`)?.split('\0') ?? []
    const found = environment.find((it) => it.startsWith('SSH_CONNECTION='))
    if (found !== undefined) return found.slice('SSH_CONNECTION='.length).split(' ')[0]
    pid = /^PPid:\s*(\d+)$/m.exec(system.read(`/proc/${pid}/status`) ?? '')?.[1] ?? ''
  }
  return undefined
}
