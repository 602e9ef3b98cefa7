import type { Host } from './host'

/** A program that manages a NIC, and would undo or spoil what is done to it. */
export interface Keeper {
  readonly name: string
  /** A file that keeps it off the NIC until the next boot, where there is such a way. */
  readonly dropIn?: { readonly path: string; readonly text: string; readonly reload: string }
  /** How the same is done with the program itself. */
  readonly recipe: string
}

interface Names {
  readonly nic: string
  readonly bridge: string
  readonly ifindex: number
}

// All of it in /run: the bridge is gone with the next boot, and then the NIC shall be managed as ever.
function findNetworkManager({ nic, bridge, ifindex }: Names, host: Host): Keeper | undefined {
  const state = host.read(`/run/NetworkManager/devices/${ifindex}`)
  if (state === undefined || !/^(managed=true|connection-uuid=.+)$/m.test(state)) return undefined
  return {
    name: 'NetworkManager',
    dropIn: {
      path: `/run/NetworkManager/conf.d/90-pipework-${bridge}.conf`,
      text: `[keyfile]\nunmanaged-devices+=interface-name:${nic};interface-name:${bridge}`,
      reload: 'nmcli general reload conf',
    },
    recipe: `nmcli connection add type bridge ifname ${bridge} stp no && nmcli connection add type ethernet slave-type bridge ifname ${nic} master ${bridge}`,
  }
}

function findNetworkd({ nic, bridge, ifindex }: Names, host: Host): Keeper | undefined {
  const state = host.read(`/run/systemd/netif/links/${ifindex}`)
  if (state === undefined || !/^ADMIN_STATE=(configured|configuring|pending|degraded)$/m.test(state)) return undefined
  const isNetplan = /^NETWORK_FILE=.*netplan/m.test(state)
  return {
    name: isNetplan ? 'netplan (by systemd-networkd)' : 'systemd-networkd',
    dropIn: {
      path: `/run/systemd/network/05-pipework-${bridge}.network`,
      text: `[Match]\nName=${nic} ${bridge}\n\n[Link]\nUnmanaged=yes`,
      reload: 'networkctl reload',
    },
    recipe: isNetplan
      ? `in /etc/netplan: bridges: { ${bridge}: { interfaces: [${nic}], addresses: […] } }, then netplan try`
      : `in /etc/systemd/network: [NetDev] Name=${bridge} Kind=bridge, and Bridge=${bridge} in the [Network] of ${nic}`,
  }
}

function findIfupdown({ nic, bridge }: Names, host: Host): Keeper | undefined {
  const states = [host.read('/run/network/ifstate'), host.read(`/run/network/ifstate.${nic}`)]
  if (!states.some((state) => state?.split(/\s+/).some((word) => word.split('=')[0] === nic))) return undefined
  return {
    name: 'ifupdown',
    recipe: `in /etc/network/interfaces: iface ${bridge} inet static, with bridge_ports ${nic}`,
  }
}

/** Who manages the NIC, by what the programs write down of it in /run. */
export function findKeepers(names: Names, host: Host): readonly Keeper[] {
  return [findNetworkManager(names, host), findNetworkd(names, host), findIfupdown(names, host)].filter(
    (keeper) => keeper !== undefined,
  )
}

const CLIENTS = ['dhclient', 'dhcpcd', 'udhcpc', 'pump', 'dhcp6c']

/** The DHCP client that serves the NIC, in words; a dhcpcd without an interface serves all. */
export function findDhcpClient(nic: string, host: Host): string | undefined {
  const netns = host.inode('/proc/self/ns/net')
  for (const pid of (host.list('/proc') ?? []).filter((name) => /^\d+$/.test(name))) {
    const argv = host.read(`/proc/${pid}/cmdline`)?.split('\0') ?? []
    // busybox udhcpc, and `dhcpcd: eth0 [ip4]` as it calls itself.
    const client = argv
      .slice(0, 2)
      .map((word) => word.slice(word.lastIndexOf('/') + 1).split(':')[0] ?? '')
      .find((name) => CLIENTS.includes(name))
    if (client === undefined || host.inode(`/proc/${pid}/ns/net`) !== netns) continue
    const words = argv.flatMap((word) => word.split(/\s+/))
    const serves = words.includes(nic) || words.includes(`-i${nic}`) || words.includes(`--interface=${nic}`)
    const servesAll = client === 'dhcpcd' && !words.slice(1).some((word) => host.inode(`/sys/class/net/${word}`))
    if (serves || servesAll) return `${client} (process ${pid})`
  }
  return undefined
}

/** The address that the user is connected from over SSH. sudo hides it from us, and not from our forebears. */
export function findSshClient(host: Host): string | undefined {
  const own = host.env.SSH_CONNECTION
  if (own !== undefined) return own.split(' ')[0]
  let pid = `${host.pid}`
  while (pid !== '' && pid !== '0' && pid !== '1') {
    const environment = host.read(`/proc/${pid}/environ`)?.split('\0') ?? []
    const found = environment.find((it) => it.startsWith('SSH_CONNECTION='))
    if (found !== undefined) return found.slice('SSH_CONNECTION='.length).split(' ')[0]
    pid = /^PPid:\s*(\d+)$/m.exec(host.read(`/proc/${pid}/status`) ?? '')?.[1] ?? ''
  }
  return undefined
}
