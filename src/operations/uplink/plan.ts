import { explainMissingModule } from '../../drivers/validate'
import { ip, type Plan, planSteps, type Step } from '../../plan/step'
import type { HostLinkState, HostState } from '../../state/host'
import { configKeyOf, uniqueConfigItems } from '../../state/link-config'
import { OWNED_ALIAS } from '../../state/record'
import {
  clearMaster,
  enableLro,
  flushNeighbours,
  hasOtherPorts,
  planMoveConfig,
  setLink,
  setMaster,
} from './move-config'
import type { UplinkFacts } from './read'
import { type UplinkState, uplinkStateFile } from './state-file'

/** What is to be written down before the first change. */
export function toUplinkState(facts: UplinkFacts, files: readonly string[]): UplinkState {
  const { bridge, nic, link, hostState, vlan, lro } = facts
  const [state, bridgeState] = [hostState.links.get(nic), hostState.links.get(bridge)]
  const shapeOf = ({ up, mtu, mac, genmode }: HostLinkState) => ({ up, mtu, mac, ...(genmode && { genmode }) })
  return {
    ...{ bridge, nic, way: 'in', stage: 'moving', takenAt: hostState.takenAt, lro, files },
    holdings: uniqueConfigItems(state?.configItems ?? []),
    nicWas: state === undefined ? { up: false, mtu: link?.mtu ?? 0, mac: link?.mac ?? '' } : shapeOf(state),
    bridgeWas: bridgeState === undefined ? undefined : shapeOf(bridgeState),
    bridgeHad: bridgeState?.configItems.map(configKeyOf) ?? [],
    vlan: vlan === undefined || vlan.isThere ? undefined : { nic: link?.name ?? '', id: vlan.id },
  }
}

/** The steps that put the NIC into the bridge, with all that it has, and see whether that works. */
export function planUplink(facts: UplinkFacts, journal: UplinkState): Plan {
  const { bridge, nic, sysctls, bridgeLink, hostState } = facts
  const { holdings, nicWas, bridgeHad } = journal
  // A kernel without IPv6 knows no such mode.
  const genmode = (name: string, mode: string) => hasIpv6Links(hostState) && setLink(name, ['addrgenmode', mode])
  return planSteps(
    planVlanDevice(facts, journal),
    planBridgeDevice(facts, journal),
    bridgeLink === undefined &&
      sysctls.length > 0 && {
        description: `give ${bridge} the sysctls of ${nic}`,
        command: { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...sysctls] },
      },
    bridgeLink?.up !== true && planSteps(genmode(bridge, 'none'), setLink(bridge, ['up'])),
    // A port needs no address of its own.
    genmode(nic, 'none'),
    !nicWas.up && setLink(nic, ['up']),
    planMoveConfig({
      ...{ from: nic, to: bridge, items: holdings, age: 0, keptKeys: bridgeHad, masterStep: setMaster(nic, bridge) },
      live: { from: hostState.links.get(nic), to: undefined },
    }),
    genmode(bridge, journal.bridgeWas?.genmode ?? nicWas.genmode ?? 'eui64'),
    planVerification(facts, { from: nic, to: bridge }),
  )
}

const hasIpv6Links = ({ links }: HostState) => links.get('lo')?.genmode !== undefined

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

/** A new bridge has the address and the MTU of the NIC: so nobody on the LAN sees a difference. */
function planBridgeDevice(
  { bridge, bridgeLink, nic, hostState, link }: UplinkFacts,
  { nicWas, bridgeWas }: UplinkState,
): Plan {
  const mac = nicWas.mac || link?.mac || ''
  if (bridgeLink === undefined || bridgeWas === undefined)
    return [
      {
        description: `create the bridge ${bridge}, with the MAC address and MTU of ${nic}`,
        command: ip`link add dev ${bridge} address ${mac} mtu ${nicWas.mtu} type bridge stp_state 0`,
      },
      { description: `record that pipework made ${bridge}`, command: ip`link set dev ${bridge} alias ${OWNED_ALIAS}` },
    ]
  return planSteps(
    bridgeWas.mac !== mac && setLink(bridge, ['address', mac]),
    // What is larger than the NIC takes would be dropped without a word.
    (bridgeWas.mtu > nicWas.mtu || (bridgeWas.mtu !== nicWas.mtu && !hasOtherPorts(bridge, nic, hostState))) &&
      setLink(bridge, ['mtu', `${nicWas.mtu}`]),
  )
}

/** Seconds that a router has to answer: it is asked three times, once a second. */
const GATEWAY_TIMEOUT = 4

/** Whether the routers answer, out of a cache that knows nothing, and whether the user is still connected. */
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
          message: `the gateway '${gateway.ip}' does not answer on '${to}' (${stdout.trim().split(' ').at(-1) || 'nothing was seen'})`,
          hint: 'So all was put back as it was. Does the switch take one MAC address per port, or does the gateway know another?',
        }),
      }),
    ),
    sshClient !== undefined &&
      sshUsesNic && {
        description: `see that you, at ${sshClient}, are reached by ${to}`,
        command: {
          kind: 'ask',
          in: 'host',
          argv: ['ip', 'route', 'get', sshClient],
          retryUntil: ` dev ${to} `,
          timeout: 0,
        },
        explainFailure: ({ stdout }) => ({
          message: `'${sshClient}', where you are connected from, is not reached by '${to}'`,
          hint: `The route is: ${stdout.trim().split('\n')[0]}. So all was put back as it was.`,
        }),
      },
  )
}

/** The step that has the kernel look for a neighbour; the answer shows in its cache. */
function probeNeighbour(ip_: string, dev: string): Step {
  return { description: `ask for ${ip_} on ${dev}`, command: ip`neigh replace ${ip_} dev ${dev} use` }
}

/** What is known when a NIC is to leave its bridge. */
export interface UplinkRemovalFacts extends Pick<UplinkFacts, 'hostState' | 'gateways' | 'sshClient' | 'sshUsesNic'> {
  readonly state: UplinkState
}

/** What is to be written down before the NIC leaves: what the bridge has now, but for what was its own. */
export function toUplinkRemovalState(journal: UplinkState, now: HostState): UplinkState {
  const { bridge, bridgeHad } = journal
  const has = now.links.get(bridge)?.configItems.filter((holding) => !bridgeHad.includes(configKeyOf(holding))) ?? []
  return { ...journal, way: 'out', stage: 'moving', takenAt: now.takenAt, holdings: uniqueConfigItems(has) }
}

/** The steps that take the NIC out of the bridge again, with all that the bridge has from it or was given since. */
export function planUplinkRemoval(facts: UplinkRemovalFacts): Plan {
  const { nic, bridge, holdings, nicWas, lro } = facts.state
  const live = facts.hostState.links.get(nic)
  return planSteps(
    live !== undefined && live.mtu !== nicWas.mtu && setLink(nic, ['mtu', `${nicWas.mtu}`]),
    planMoveConfig({
      ...{ from: bridge, to: nic, items: holdings, age: 0, masterStep: clearMaster(nic) },
      neighbourCache: facts.hostState.links.get(bridge)?.neighbourCache ?? [],
      live: { from: facts.hostState.links.get(bridge), to: live },
    }),
    nicWas.genmode !== undefined && setLink(nic, ['addrgenmode', nicWas.genmode]),
    planVerification(facts, { from: bridge, to: nic }),
    lro.map(enableLro),
    !nicWas.up && setLink(nic, ['down']),
  )
}

/** The last steps, when nothing is to be put back any more: what pipework made goes, if nobody uses it. */
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
