import { PipeworkError } from './errors'
import { idOf, pickDistinct } from './holdings'
import type { HostLink } from './hostlinks'
import { type Journal, journalFile } from './journal'
import type { Keeper } from './keepers'
import { explainMissing } from './links/claim'
import { MADE_RECORD } from './record'
import { enslave, flush, hasOthers, planShift, release, shape, turnLroOn } from './shift'
import type { LinkState, Snapshot } from './snapshot'
import { ip, type Plan, rows, type Step } from './step'

/** What is known when a NIC is to become the uplink of a bridge. */
export interface UplinkFacts {
  readonly bridge: string
  /** The NIC, or the device of its VLAN. */
  readonly nic: string
  /** The NIC as sysfs shows it; below a VLAN device, where that is what moves. */
  readonly link: HostLink | undefined
  readonly bridgeLink: HostLink | undefined
  readonly vlan?: { readonly id: number; readonly isThere: boolean }
  /** Its ARP hardware type of <linux/if_arp.h>: 1 for Ethernet. */
  readonly hardware: string | undefined
  readonly now: Snapshot
  /** Macvlans and ipvlans on it, also those in guests. */
  readonly children: readonly string[]
  readonly keepers: readonly Keeper[]
  readonly dhcpClient?: string
  /** Its addresses that go unless the keepers renew them. */
  readonly leased: readonly string[]
  /** Where the user is connected from over SSH. */
  readonly sshClient?: string
  /** Whether replies to that leave by the NIC now. */
  readonly sshByNic: boolean
  /** The routers of the NIC, and whether they answer now. */
  readonly gateways: readonly { readonly ip: string; readonly answers: boolean }[]
  /** Sysctls that the NIC has and a new link has not, by key, for the bridge. */
  readonly sysctls: readonly string[]
  readonly lro: Journal['lro']
  /** The bridges that are an uplink's already. */
  readonly uplinked: Journal | undefined
}

/** What may be asked beside. */
export interface UplinkOptions {
  readonly force: boolean
  readonly writeUnmanaged: boolean
}

const ETHERNET = '1'

function refuseNic({ bridge, nic, link, hardware, now, children, vlan }: UplinkFacts): void {
  if (link === undefined)
    throw new PipeworkError(`there is no NIC '${nic}' on this host`, { hint: 'See what there is: ip -br link' })
  const { name, kind } = link
  if (name === bridge)
    throw new PipeworkError(`'${bridge}' cannot be its own uplink`, { hint: 'Name a bridge, like br0.' })
  if (kind === 'bridge' || kind === 'loopback' || kind === 'infiniband' || hardware !== ETHERNET)
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
  const master = now.links.get(vlan === undefined ? name : nic)?.master ?? link.master
  if (master !== undefined)
    throw new PipeworkError(`'${name}' is a port of '${master}' already`, {
      hint: isBond(now.links.get(master))
        ? `The bond is what can be bridged: pipework uplink add ${bridge} ${master}`
        : `Take it out first: ip link set dev ${name} nomaster`,
    })
  if (children.length > 0)
    throw new PipeworkError(`'${nic}' has ${children.join(', ')}, and a NIC gives its frames to them or to a bridge`, {
      hint: 'Take them away first; their guests can be attached to the bridge instead.',
    })
}

const isBond = (link: LinkState | undefined) => link?.kind === 'bond' || link?.kind === 'team'

function refuseBridge({ bridge, bridgeLink, now, nic, uplinked }: UplinkFacts, { force }: UplinkOptions): void {
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
  if (uplinked !== undefined)
    throw new PipeworkError(`'${bridge}' has the uplink '${uplinked.nic}', and a second one could close a loop`, {
      hint: `Take that out first: pipework uplink del ${bridge}. Or bond the two, and bridge the bond.`,
    })
  if (force) return
  if (/^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(bridge))
    throw new PipeworkError(`the bridge '${bridge}' is Docker's own`, {
      hint: 'Its containers have addresses of a network of their own. To use it all the same: --force.',
    })
  const other = [...now.links.values()].find(({ master, kind }) => master === bridge && kind === undefined)
  if (other !== undefined)
    throw new PipeworkError(`'${bridge}' has the NIC '${other.name}' in it, and a second one could close a loop`, {
      hint: 'If they lead to different networks: --force.',
    })
}

function refuseKeepers({ nic, bridge, keepers, dhcpClient, leased }: UplinkFacts, options: UplinkOptions): void {
  if (options.force) return
  if (dhcpClient !== undefined)
    throw new PipeworkError(`'${nic}' has its address from ${dhcpClient}, which would go on there`, {
      hint: `Stop it without giving the address back (kill -9), or have it serve '${bridge}' from the start. To go on: --force.`,
    })
  const [first] = keepers
  const keeper = keepers.find(({ dropIn }) => dropIn === undefined || !options.writeUnmanaged)
  if (keeper === undefined && first !== undefined && leased[0] !== undefined)
    throw new PipeworkError(
      `'${nic}' has ${leased[0]} for a while only: ${first.name} renews it, and would not on '${bridge}'`,
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

function refuseUnverifiable({ nic, gateways, sshClient, now }: UplinkFacts, { force }: UplinkOptions): void {
  const [obstacle] = now.obstacles.get(nic) ?? []
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
export function refuseUplink(facts: UplinkFacts, options: UplinkOptions): void {
  refuseNic(facts)
  refuseBridge(facts, options)
  refuseKeepers(facts, options)
  refuseUnverifiable(facts, options)
}

/** What is to be written down before the first change. */
export function toJournal(facts: UplinkFacts, files: readonly string[]): Journal {
  const { bridge, nic, link, now, vlan, lro } = facts
  const [state, bridgeState] = [now.links.get(nic), now.links.get(bridge)]
  const shapeOf = ({ up, mtu, mac, genmode }: LinkState) => ({ up, mtu, mac, ...(genmode && { genmode }) })
  return {
    ...{ bridge, nic, way: 'in', stage: 'moving', takenAt: now.takenAt, lro, files },
    holdings: pickDistinct(state?.holdings ?? []),
    nicWas: state === undefined ? { up: false, mtu: link?.mtu ?? 0, mac: link?.mac ?? '' } : shapeOf(state),
    ...(bridgeState === undefined ? {} : { bridgeWas: shapeOf(bridgeState) }),
    bridgeHad: bridgeState?.holdings.map(idOf) ?? [],
    ...(vlan === undefined || vlan.isThere ? {} : { vlan: { nic: link?.name ?? '', id: vlan.id } }),
  }
}

/** The steps that put the NIC into the bridge, with all that it has, and see whether that works. */
export function planUplink(facts: UplinkFacts, journal: Journal): Plan {
  const { bridge, nic, sysctls, bridgeLink, now } = facts
  const { holdings, nicWas, bridgeHad } = journal
  // A kernel without IPv6 knows no such mode.
  const genmode = (name: string, mode: string) => hasIpv6(now) && shape(name, ['addrgenmode', mode])
  return rows(
    planVlan(facts, journal),
    planBridge(facts, journal),
    bridgeLink === undefined &&
      sysctls.length > 0 && {
        why: `give ${bridge} the sysctls of ${nic}`,
        command: { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...sysctls] },
      },
    bridgeLink?.up !== true && rows(genmode(bridge, 'none'), shape(bridge, ['up'])),
    // A port needs no address of its own.
    genmode(nic, 'none'),
    !nicWas.up && shape(nic, ['up']),
    planShift({
      ...{ from: nic, to: bridge, holdings, age: 0, keeps: bridgeHad, swap: enslave(nic, bridge) },
      live: { from: now.links.get(nic), to: undefined },
    }),
    genmode(bridge, journal.bridgeWas?.genmode ?? nicWas.genmode ?? 'eui64'),
    planProof(facts, { from: nic, to: bridge }),
  )
}

const hasIpv6 = ({ links }: Snapshot) => links.get('lo')?.genmode !== undefined

function planVlan({ nic, link }: UplinkFacts, { vlan }: Journal): Plan {
  if (vlan === undefined || link === undefined) return []
  return rows(
    !link.up && shape(link.name, ['up']),
    {
      why: `create ${nic} for VLAN ${vlan.id} of ${link.name}`,
      command: ip`link add link ${link.name} name ${nic} type vlan id ${vlan.id}`,
      explain: explainMissing('vlan'),
    },
    {
      why: `record that pipework made ${nic}`,
      command: ip`link set dev ${nic} alias ${MADE_RECORD}`,
    },
  )
}

/** A new bridge has the address and the MTU of the NIC: so nobody on the LAN sees a difference. */
function planBridge({ bridge, bridgeLink, nic, now, link }: UplinkFacts, { nicWas, bridgeWas }: Journal): Plan {
  const mac = nicWas.mac || link?.mac || ''
  if (bridgeLink === undefined || bridgeWas === undefined)
    return [
      {
        why: `create the bridge ${bridge}, with the MAC address and MTU of ${nic}`,
        command: ip`link add dev ${bridge} address ${mac} mtu ${nicWas.mtu} type bridge stp_state 0`,
      },
      { why: `record that pipework made ${bridge}`, command: ip`link set dev ${bridge} alias ${MADE_RECORD}` },
    ]
  return rows(
    bridgeWas.mac !== mac && shape(bridge, ['address', mac]),
    // What is larger than the NIC takes would be dropped without a word.
    (bridgeWas.mtu > nicWas.mtu || (bridgeWas.mtu !== nicWas.mtu && !hasOthers(bridge, nic, now))) &&
      shape(bridge, ['mtu', `${nicWas.mtu}`]),
  )
}

/** Seconds that a router has to answer: it is asked three times, once a second. */
const ANSWER_LIMIT = 4

/** Whether the routers answer, out of a cache that knows nothing, and whether the user is still connected. */
function planProof(
  { gateways, sshClient, sshByNic }: Pick<UplinkFacts, 'gateways' | 'sshClient' | 'sshByNic'>,
  { from, to }: { readonly from: string; readonly to: string },
): Plan {
  const answering = gateways.filter(({ answers }) => answers)
  return rows(
    flush(from),
    flush(to),
    answering.map((gateway) => askNeighbour(gateway.ip, to)),
    answering.map(
      (gateway): Step => ({
        why: `wait for the gateway ${gateway.ip} to answer`,
        command: {
          ...{ kind: 'ask', in: 'host', againUntil: 'lladdr', limit: ANSWER_LIMIT },
          argv: ['ip', 'neigh', 'show', 'to', gateway.ip, 'dev', to],
        },
        explain: ({ stdout }) => ({
          message: `the gateway '${gateway.ip}' does not answer on '${to}' (${stdout.trim().split(' ').at(-1) || 'nothing was seen'})`,
          hint: 'So all was put back as it was. Does the switch take one MAC address per port, or does the gateway know another?',
        }),
      }),
    ),
    sshClient !== undefined &&
      sshByNic && {
        why: `see that you, at ${sshClient}, are reached by ${to}`,
        command: {
          kind: 'ask',
          in: 'host',
          argv: ['ip', 'route', 'get', sshClient],
          againUntil: ` dev ${to} `,
          limit: 0,
        },
        explain: ({ stdout }) => ({
          message: `'${sshClient}', where you are connected from, is not reached by '${to}'`,
          hint: `The route is: ${stdout.trim().split('\n')[0]}. So all was put back as it was.`,
        }),
      },
  )
}

/** The step that has the kernel look for a neighbour; the answer shows in its cache. */
function askNeighbour(ip_: string, dev: string): Step {
  return { why: `ask for ${ip_} on ${dev}`, command: ip`neigh replace ${ip_} dev ${dev} use` }
}

/** What is known when a NIC is to leave its bridge. */
export interface DownlinkFacts extends Pick<UplinkFacts, 'now' | 'gateways' | 'sshClient' | 'sshByNic'> {
  readonly journal: Journal
}

/** What is to be written down before the NIC leaves: what the bridge has now, but for what was its own. */
export function toDownlinkJournal(journal: Journal, now: Snapshot): Journal {
  const { bridge, bridgeHad } = journal
  const has = now.links.get(bridge)?.holdings.filter((holding) => !bridgeHad.includes(idOf(holding))) ?? []
  return { ...journal, way: 'out', stage: 'moving', takenAt: now.takenAt, holdings: pickDistinct(has) }
}

/** The steps that take the NIC out of the bridge again, with all that the bridge has from it or was given since. */
export function planDownlink(facts: DownlinkFacts): Plan {
  const { nic, bridge, holdings, nicWas, lro } = facts.journal
  const live = facts.now.links.get(nic)
  return rows(
    live !== undefined && live.mtu !== nicWas.mtu && shape(nic, ['mtu', `${nicWas.mtu}`]),
    planShift({
      ...{ from: bridge, to: nic, holdings, age: 0, swap: release(nic) },
      acquaintances: facts.now.links.get(bridge)?.acquaintances ?? [],
      live: { from: facts.now.links.get(bridge), to: live },
    }),
    nicWas.genmode !== undefined && shape(nic, ['addrgenmode', nicWas.genmode]),
    planProof(facts, { from: bridge, to: nic }),
    lro.map(turnLroOn),
    !nicWas.up && shape(nic, ['down']),
  )
}

/** The last steps, when nothing is to be put back any more: what pipework made goes, if nobody uses it. */
export function planForget({ bridge, files }: Journal, leftovers: Plan): Plan {
  return rows(
    leftovers,
    files.map((path): Step => ({ why: `remove ${path}`, command: { kind: 'file', in: 'host', path } })),
    { why: `forget the uplink of ${bridge}`, command: { kind: 'file', in: 'host', path: journalFile(bridge) } },
  )
}
