import { explainMissingModule } from '../../drivers/validate'
import { planMoveConfig } from '../../network/move-config'
import { ip, type Plan, planSteps, type Step } from '../../plan/step'
import { type HostState, toSavedLink } from '../../state/host'
import { configKeyOf, uniqueConfigItems } from '../../state/link-config'
import type { LinkManager } from '../../state/network-managers'
import { OWNED_ALIAS } from '../../state/record'
import type { SavedLink } from '../../state/saved-link'
import type { System } from '../../system/types'
import type { UplinkFacts } from './read'
import { bridgeKeysOf, type UplinkState, uplinkStateFile } from './state-file'
import {
  clearMaster,
  enableLro,
  flushNeighbours,
  hasOtherPorts,
  probeNeighbour,
  setAddrGenMode,
  setLink,
  setMaster,
} from './steps'

/** A configuration file that keeps a network manager away from a link. */
export type DropIn = NonNullable<LinkManager['dropIn']>

/** The state to save before the first change. */
export function toUplinkState(facts: UplinkFacts, dropIns: readonly DropIn[], system: System): UplinkState {
  const { bridge, nic, link, hostState, vlan, lro } = facts
  const { takenAt } = hostState
  const save = (name: string): SavedLink | undefined => {
    const live = hostState.links.get(name)
    return live && toSavedLink(live, takenAt, system)
  }
  // A missing VLAN device is created with the MTU and MAC address of its NIC.
  const { mtu = 0, mac = '' } = link ?? {}
  const created = { name: nic, up: false, mtu, mac, altnames: [], sysctls: [], items: [], takenAt }
  return {
    ...{ bridge, nic, direction: 'attach', stage: 'moving', takenAt, lro, files: dropIns.map(({ path }) => path) },
    items: uniqueConfigItems(hostState.links.get(nic)?.configItems ?? []),
    nicBefore: save(nic) ?? created,
    bridgeBefore: save(bridge),
    vlan: vlan === undefined || vlan.isThere ? undefined : { nic: link?.name ?? '', id: vlan.id },
  }
}

/** The steps that make the NIC a port of the bridge, move its configuration to the bridge, and verify the result. */
export function planUplink(facts: UplinkFacts, state: UplinkState, dropIns: readonly DropIn[]): Plan {
  const { bridge, nic, sysctls, bridgeLink, hostState } = facts
  const { items, nicBefore, bridgeBefore } = state
  return planSteps(
    dropIns.map(({ path, text }) => ({
      description: `write ${path}`,
      command: { kind: 'file', in: 'host', path, text, readers: 'everybody' },
    })),
    planVlanDevice(facts, state),
    planBridgeDevice(facts, state),
    bridgeLink === undefined &&
      sysctls.length > 0 && {
        description: `give ${bridge} the sysctls of ${nic}`,
        command: { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...sysctls] },
      },
    bridgeLink?.up !== true && planSteps(setAddrGenMode(bridge, 'none', hostState), setLink(bridge, ['up'])),
    // A port needs no link-local address of its own.
    setAddrGenMode(nic, 'none', hostState),
    !nicBefore.up && setLink(nic, ['up']),
    planMoveConfig({
      ...{ from: nic, to: bridge, items, age: 0, masterStep: setMaster(nic, bridge) },
      // When the NIC was taken out by hand, the bridge already has the configuration.
      live: { from: hostState.links.get(nic), to: hostState.links.get(bridge) },
    }),
    setAddrGenMode(bridge, bridgeBefore?.addrGenMode ?? nicBefore.addrGenMode ?? 'eui64', hostState),
    planVerification(facts, { from: nic, to: bridge }),
  )
}

function planVlanDevice({ nic, link }: UplinkFacts, { vlan }: UplinkState): Plan {
  if (vlan === undefined || link === undefined) return []
  return planSteps(
    !link.up && setLink(link.name, ['up']),
    {
      description: `create ${nic} for VLAN ${vlan.id} of ${link.name}`,
      command: ip`link add link ${link.name} name ${nic} type vlan id ${vlan.id}`,
      explainFailure: explainMissingModule('vlan'),
    },
    {
      description: `record that pipework made ${nic}`,
      command: ip`link set dev ${nic} alias ${OWNED_ALIAS}`,
    },
  )
}

/** Creates the bridge with the MAC address and MTU of the NIC, so that nothing changes for other hosts. */
function planBridgeDevice(
  { bridge, bridgeLink, nic, hostState }: UplinkFacts,
  { nicBefore, bridgeBefore }: UplinkState,
): Plan {
  const mac = nicBefore.mac
  if (bridgeLink === undefined || bridgeBefore === undefined)
    return [
      {
        description: `create the bridge ${bridge}, with the MAC address and MTU of ${nic}`,
        command: ip`link add dev ${bridge} address ${mac} mtu ${nicBefore.mtu} type bridge stp_state 0`,
      },
      { description: `record that pipework made ${bridge}`, command: ip`link set dev ${bridge} alias ${OWNED_ALIAS}` },
    ]
  return planSteps(
    bridgeBefore.mac !== mac && setLink(bridge, ['address', mac]),
    // The bridge would silently drop frames larger than the NIC's MTU.
    (bridgeBefore.mtu > nicBefore.mtu ||
      (bridgeBefore.mtu !== nicBefore.mtu && !hasOtherPorts(bridge, nic, hostState))) &&
      setLink(bridge, ['mtu', `${nicBefore.mtu}`]),
  )
}

/** Seconds for a gateway to answer: the kernel sends three requests, one a second. */
const GATEWAY_TIMEOUT = 4

/** Verifies that the gateways answer with an empty neighbour cache, and that replies still reach the SSH client. */
function planVerification(
  { gateways, sshClient, sshUsesNic }: Pick<UplinkFacts, 'gateways' | 'sshClient' | 'sshUsesNic'>,
  { from, to }: { readonly from: string; readonly to: string },
): Plan {
  const answering = gateways.filter(({ answers }) => answers)
  return planSteps(
    flushNeighbours(from),
    flushNeighbours(to),
    answering.map((gateway) => probeNeighbour(gateway.ip, to)),
    answering.map(
      (gateway): Step => ({
        description: `wait for the gateway ${gateway.ip} to answer`,
        command: {
          ...{ kind: 'ask', in: 'host', retryUntil: 'lladdr', timeout: GATEWAY_TIMEOUT },
          argv: ['ip', 'neigh', 'show', 'to', gateway.ip, 'dev', to],
        },
        explainFailure: ({ stdout }) => ({
          message: `the gateway '${gateway.ip}' does not answer on '${to}' (${stdout.trim().split(' ').at(-1) || 'no entry'})`,
          hint: 'Everything was restored. Does the switch accept one MAC address per port only, or has the gateway a static entry?',
        }),
      }),
    ),
    sshClient !== undefined &&
      sshUsesNic && {
        description: `verify that your SSH client ${sshClient} is reached by ${to}`,
        command: {
          kind: 'ask',
          in: 'host',
          argv: ['ip', 'route', 'get', sshClient],
          retryUntil: ` dev ${to} `,
          timeout: 0,
        },
        explainFailure: ({ stdout }) => ({
          message: `your SSH client '${sshClient}' is not reached by '${to}'`,
          hint: `The route is: ${stdout.trim().split('\n')[0]}. Everything was restored.`,
        }),
      },
  )
}

/** The facts for removing a NIC from its bridge. */
export interface UplinkRemovalFacts extends Pick<UplinkFacts, 'hostState' | 'gateways' | 'sshClient' | 'sshUsesNic'> {
  readonly state: UplinkState
}

/**
 * The state to save before the NIC leaves: it receives the bridge's configuration, except the bridge's own earlier one.
 */
export function toUplinkRemovalState({ error, ...uplink }: UplinkState, now: HostState): UplinkState {
  const kept = bridgeKeysOf(uplink)
  const items = now.links.get(uplink.bridge)?.configItems.filter((item) => !kept.includes(configKeyOf(item))) ?? []
  return {
    ...uplink,
    ...{ direction: 'detach', stage: 'moving', takenAt: now.takenAt, items: uniqueConfigItems(items) },
  }
}

/** The steps that take the NIC out of the bridge, with the configuration that came with it or was added later. */
export function planUplinkRemoval(facts: UplinkRemovalFacts): Plan {
  const { state, hostState } = facts
  const { nic, bridge, items, nicBefore, lro } = state
  const [liveNic, liveBridge] = [hostState.links.get(nic), hostState.links.get(bridge)]
  return planSteps(
    liveNic !== undefined && liveNic.mtu !== nicBefore.mtu && setLink(nic, ['mtu', `${nicBefore.mtu}`]),
    planMoveConfig({
      ...{ from: bridge, to: nic, items, age: 0, masterStep: clearMaster(nic) },
      neighbourCache: liveBridge?.neighbourCache ?? [],
      live: { from: liveBridge, to: liveNic },
    }),
    nicBefore.addrGenMode !== undefined && setLink(nic, ['addrgenmode', nicBefore.addrGenMode]),
    planVerification(facts, { from: bridge, to: nic }),
    lro.map(enableLro),
    !nicBefore.up && setLink(nic, ['down']),
  )
}

/** The last steps, after the point of rollback: removes what pipework created and nothing else uses. */
export function planUplinkCleanup({ bridge, files }: UplinkState, leftovers: Plan): Plan {
  return planSteps(
    leftovers,
    files.map((path): Step => ({ description: `remove ${path}`, command: { kind: 'file', in: 'host', path } })),
    {
      description: `forget the uplink of ${bridge}`,
      command: { kind: 'file', in: 'host', path: uplinkStateFile(bridge) },
    },
  )
}
