import { PipeworkError } from '../../model/errors'
import type { HostLinkState } from '../../state/host'
import type { UplinkFacts } from './read'

/** What may be asked beside. */
export interface UplinkOptions {
  readonly force: boolean
  readonly writeUnmanaged: boolean
  /** Seconds after which all is put back, unless somebody confirms that it works. */
  readonly confirm?: number | undefined
}

/** What a rule that speaks of the NIC means for the bridge. */
export function formatRuleWarning({
  nic,
  bridge,
  firewallRule,
}: Pick<UplinkFacts, 'nic' | 'bridge' | 'firewallRule'>): string {
  return `the firewall of this host speaks of '${nic}', and what comes in by it comes in by '${bridge}' then: ${firewallRule}`
}

const ARPHRD_ETHER = '1'

function validateNic({ bridge, nic, link, hardwareType, hostState, children, vlan }: UplinkFacts): void {
  if (link === undefined)
    throw new PipeworkError(`there is no NIC '${nic}' on this host`, { hint: 'See what there is: ip -br link' })
  const { name, kind } = link
  if (name === bridge)
    throw new PipeworkError(`'${bridge}' cannot be its own uplink`, { hint: 'Name a bridge, like br0.' })
  if (kind === 'bridge' || kind === 'loopback' || kind === 'infiniband' || hardwareType !== ARPHRD_ETHER)
    throw new PipeworkError(
      `'${name}' is ${kind === 'bridge' || kind === 'loopback' ? `a ${kind}` : 'no Ethernet NIC'}`,
      {
        hint: kind === 'infiniband' ? 'InfiniBand knows no bridges: attach to it directly.' : 'Give a NIC: ip -br link',
      },
    )
  if (kind === 'wireless')
    throw new PipeworkError(`'${name}' is wireless: an access point takes frames from its own MAC address only`, {
      hint: `Share that address instead: pipework ${name} --kind ipvlan …`,
    })
  const master = hostState.links.get(vlan === undefined ? name : nic)?.master ?? link.master
  if (master !== undefined)
    throw new PipeworkError(`'${name}' is a port of '${master}' already`, {
      hint: isBond(hostState.links.get(master))
        ? `The bond is what can be bridged: pipework uplink add ${bridge} ${master}`
        : `Take it out first: ip link set dev ${name} nomaster`,
    })
  if (children.length > 0)
    throw new PipeworkError(`'${nic}' has ${children.join(', ')}, and a NIC gives its frames to them or to a bridge`, {
      hint: 'Take them away first; their guests can be attached to the bridge instead.',
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
      throw new PipeworkError(`'${bridge}' would be a bridge of Open vSwitch, and those have their own way`, {
        hint: `ovs-vsctl add-port ${bridge} ${nic} moves no addresses: try it from a console.`,
      })
    throw new PipeworkError(`there is no bridge '${bridge}' on this host`, {
      hint: 'One is made when its name begins with br, like br0. The bridge stands before its uplink: br0@eth0.',
    })
  }
  if (bridgeLink.kind !== 'bridge')
    throw new PipeworkError(`'${bridge}' is no bridge of Linux`, { hint: `See what it is: ip -d link show ${bridge}` })
  if (existingUplink !== undefined)
    throw new PipeworkError(`'${bridge}' has the uplink '${existingUplink.nic}', and a second one could close a loop`, {
      hint: `Take that out first: pipework uplink del ${bridge}. Or bond the two, and bridge the bond.`,
    })
  if (force) return
  if (/^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(bridge))
    throw new PipeworkError(`the bridge '${bridge}' is Docker's own`, {
      hint: 'Its containers have addresses of a network of their own. To use it all the same: --force.',
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
    throw new PipeworkError(`'${nic}' has its address from ${dhcpClient}, which would go on there`, {
      hint: `Stop it without giving the address back (kill -9), or have it serve '${bridge}' from the start. To go on: --force.`,
    })
  const [first] = managers
  const keeper = managers.find(({ dropIn }) => dropIn === undefined || !options.writeUnmanaged)
  if (keeper === undefined && first !== undefined && leasedAddresses[0] !== undefined)
    throw new PipeworkError(
      `'${nic}' has ${leasedAddresses[0]} for a while only: ${first.name} renews it, and would not on '${bridge}'`,
      {
        hint: `Let it do the same, with DHCP on the bridge: ${first.recipe}\nOr give '${nic}' a static address. To go on: --force.`,
      },
    )
  if (keeper === undefined) return
  const { name, recipe, dropIn } = keeper
  const off =
    dropIn === undefined
      ? ['It is no daemon: do not run ifup or ifdown, and it stays as it is. To go on: --force.']
      : [
          `To keep it off until the next boot (--write-unmanaged writes this): ${dropIn.path}`,
          ...dropIn.text.split('\n').map((line) => `  ${line}`),
        ]
  throw new PipeworkError(`'${nic}' is managed by ${name}, which would take it back`, {
    hint: [`For good, let it do the same: ${recipe}`, ...off].join('\n'),
  })
}

function validateVerifiable({ nic, gateways, sshClient, hostState }: UplinkFacts, { force }: UplinkOptions): void {
  const [obstacle] = hostState.unsupported.get(nic) ?? []
  if (obstacle !== undefined)
    throw new PipeworkError(`'${nic}' cannot be moved as it is: ${obstacle}`, {
      hint: 'Nothing was changed. Take that away first, and make it anew on the bridge.',
    })
  if (force) return
  const silent = gateways.find(({ answers }) => !answers)
  if (silent !== undefined)
    throw new PipeworkError(`the gateway '${silent.ip}' of '${nic}' does not answer now`, {
      hint: 'So nobody could tell whether it does after the move. To go on without that: --force.',
    })
  if (sshClient?.endsWith(`%${nic}`))
    throw new PipeworkError(`you are connected from '${sshClient}', an address that is bound to '${nic}' itself`, {
      hint: 'That connection would not survive. Connect to another address of this host, or go on with --force.',
    })
}

/** Refuses what cannot be made the uplink of a bridge, or not safely. */
export function validateUplink(facts: UplinkFacts, options: UplinkOptions): void {
  validateNic(facts)
  validateBridge(facts, options)
  validateManagers(facts, options)
  validateVerifiable(facts, options)
  if (facts.firewallRule !== undefined && !options.force && options.confirm === undefined)
    throw new PipeworkError(formatRuleWarning(facts), {
      hint: `Let it say the same of '${facts.bridge}' first; or try, with --confirm 60, which puts all back unless you confirm. To go on: --force.`,
    })
}
