import { PipeworkError } from '../../model/errors'
import type { HostLinkState } from '../../state/host'
import type { UplinkFacts } from './read'

/** Options of `uplink add`. */
export interface UplinkOptions {
  readonly force: boolean
  readonly writeUnmanaged: boolean
  /** Seconds after which an unconfirmed move is rolled back. */
  readonly confirm?: number | undefined
}

/** Explains what a firewall rule that names the NIC means for the move. */
export function formatRuleWarning({
  nic,
  bridge,
  firewallRule,
}: Pick<UplinkFacts, 'nic' | 'bridge' | 'firewallRule'>): string {
  return `a firewall rule names '${nic}', and packets will arrive on '${bridge}' instead: ${firewallRule}`
}

const ARPHRD_ETHER = '1'

function validateNic({ bridge, nic, link, hardwareType, hostState, children, vlan }: UplinkFacts): void {
  if (link === undefined)
    throw new PipeworkError(`there is no NIC '${nic}' on this host`, { hint: 'List the interfaces: ip -br link' })
  const { name, kind } = link
  if (name === bridge)
    throw new PipeworkError(`'${bridge}' cannot be its own uplink`, { hint: 'Name a bridge, like br0.' })
  if (kind === 'bridge' || kind === 'loopback' || kind === 'infiniband' || hardwareType !== ARPHRD_ETHER)
    throw new PipeworkError(
      `'${name}' is ${kind === 'bridge' || kind === 'loopback' ? `a ${kind}` : 'not an Ethernet NIC'}`,
      {
        hint:
          kind === 'infiniband' ? 'InfiniBand cannot be bridged: attach to it directly.' : 'List the NICs: ip -br link',
      },
    )
  if (kind === 'wireless')
    throw new PipeworkError(`'${name}' is wireless: an access point accepts frames from one MAC address only`, {
      hint: `Share that address: pipework ${name} --kind ipvlan …`,
    })
  const master = hostState.links.get(vlan === undefined ? name : nic)?.master ?? link.master
  if (master !== undefined)
    throw new PipeworkError(`'${name}' is a port of '${master}' already`, {
      hint: isBond(hostState.links.get(master))
        ? `The bond is what can be bridged: pipework uplink add ${bridge} ${master}`
        : `Take it out first: ip link set dev ${name} nomaster`,
    })
  if (children.length > 0)
    throw new PipeworkError(`'${nic}' has ${children.join(', ')}: a NIC passes its frames to those or to a bridge`, {
      hint: 'Remove them first, and attach their containers to the bridge.',
    })
}

const isBond = (link: HostLinkState | undefined) => link?.kind === 'bond' || link?.kind === 'team'

function validateBridge(
  { bridge, bridgeLink, hostState, nic, existingUplink }: UplinkFacts,
  { force }: UplinkOptions,
): void {
  if (bridgeLink === undefined) {
    if (bridge.startsWith('br')) return
    if (bridge.startsWith('ovs'))
      throw new PipeworkError(`'${bridge}' would be an Open vSwitch bridge, and 'uplink add' is for Linux bridges`, {
        hint: `Use ovs-vsctl add-port ${bridge} ${nic}, from a console: it does not move the addresses.`,
      })
    throw new PipeworkError(`there is no bridge '${bridge}' on this host`, {
      hint: 'pipework creates bridges whose name begins with br, like br0. The bridge comes first: br0@eth0.',
    })
  }
  if (bridgeLink.kind !== 'bridge')
    throw new PipeworkError(`'${bridge}' is not a Linux bridge`, { hint: `See what it is: ip -d link show ${bridge}` })
  if (existingUplink !== undefined)
    throw new PipeworkError(`'${bridge}' has the uplink '${existingUplink.nic}', and a second one could close a loop`, {
      hint: `Remove that first: pipework uplink del ${bridge}. Or bond the two NICs, and use the bond as uplink.`,
    })
  if (force) return
  if (/^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(bridge))
    throw new PipeworkError(`the bridge '${bridge}' belongs to Docker`, {
      hint: 'Its containers have addresses of another subnet. To use it anyway: --force.',
    })
  const other = [...hostState.links.values()].find(({ master, kind }) => master === bridge && kind === undefined)
  if (other !== undefined)
    throw new PipeworkError(`'${bridge}' has the NIC '${other.name}' in it, and a second one could close a loop`, {
      hint: 'If they lead to different networks: --force.',
    })
}

function validateManagers(
  { nic, bridge, managers, dhcpClient, leasedAddresses }: UplinkFacts,
  options: UplinkOptions,
): void {
  if (options.force) return
  if (dhcpClient !== undefined)
    throw new PipeworkError(`'${nic}' has its address from ${dhcpClient}, which would stay on '${nic}'`, {
      hint: `Stop it without releasing the lease (kill -9), or run it on '${bridge}'. To continue anyway: --force.`,
    })
  const [first] = managers
  const manager = managers.find(({ dropIn }) => dropIn === undefined || !options.writeUnmanaged)
  if (manager === undefined && first !== undefined && leasedAddresses[0] !== undefined)
    throw new PipeworkError(
      `'${nic}' has ${leasedAddresses[0]} by a lease, which ${first.name} would not renew on '${bridge}'`,
      {
        hint: `Configure the bridge there, with DHCP: ${first.recipe}\nOr give '${nic}' a static address. To continue anyway: --force.`,
      },
    )
  if (manager === undefined) return
  const { name, recipe, dropIn } = manager
  const workaround =
    dropIn === undefined
      ? ['It is not a daemon: until you run ifup or ifdown it changes nothing. To continue anyway: --force.']
      : [
          `To disable it for '${nic}' until the next boot (--write-unmanaged writes this): ${dropIn.path}`,
          ...dropIn.text.split('\n').map((line) => `  ${line}`),
        ]
  throw new PipeworkError(`'${nic}' is managed by ${name}, which would undo the change`, {
    hint: [`To make the change there: ${recipe}`, ...workaround].join('\n'),
  })
}

function validateVerifiable({ nic, gateways, sshClient, hostState }: UplinkFacts, { force }: UplinkOptions): void {
  const [unsupported] = hostState.unsupported.get(nic) ?? []
  if (unsupported !== undefined)
    throw new PipeworkError(`the configuration of '${nic}' cannot be moved: ${unsupported}`, {
      hint: 'Remove that first, and add it again on the bridge.',
    })
  if (hostState.tentative.has(nic))
    throw new PipeworkError(`the kernel still checks an address of '${nic}' for duplicates`, {
      hint: 'Try again in two seconds.',
    })
  if (force) return
  const silent = gateways.find(({ answers }) => !answers)
  if (silent !== undefined)
    throw new PipeworkError(`the gateway '${silent.ip}' of '${nic}' does not answer now`, {
      hint: 'So pipework could not verify the move. To continue anyway: --force.',
    })
  if (sshClient?.endsWith(`%${nic}`))
    throw new PipeworkError(`you are connected from '${sshClient}', a link-local address that is bound to '${nic}'`, {
      hint: 'That connection would break. Connect to another address of this host. To continue anyway: --force.',
    })
}

/** Refuses uplinks that are impossible or unsafe. */
export function validateUplink(facts: UplinkFacts, options: UplinkOptions): void {
  validateNic(facts)
  validateBridge(facts, options)
  validateManagers(facts, options)
  validateVerifiable(facts, options)
  if (facts.firewallRule !== undefined && !options.force && options.confirm === undefined)
    throw new PipeworkError(formatRuleWarning(facts), {
      hint: `Add the same rule for '${facts.bridge}' first; or try with --confirm 60, which restores everything unless you confirm. To continue anyway: --force.`,
    })
}
