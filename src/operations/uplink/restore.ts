import { planMoveConfig } from '../../network/move-config'
import { type Command, ip, type Plan, planSteps } from '../../plan/step'
import type { HostLinkState, HostState } from '../../state/host'
import { configKeyOf } from '../../state/link-config'
import { bridgeKeysOf, type UplinkState } from './state-file'
import { clearMaster, enableLro, hasOtherPorts, setLink, setMaster } from './steps'

/**
 * The steps from the current state back to the saved one. Skips what is already right, so it can be planned twice.
 * Keeps what other programs have added to either link meanwhile.
 */
export function planMoveRestore(state: UplinkState, now: HostState): Plan {
  return state.direction === 'attach' ? planNicRestore(state, now) : planPortRestore(state, now)
}

/** Takes the NIC out of the bridge again. */
function planNicRestore(state: UplinkState, now: HostState): Plan {
  const { bridge, nic, items, nicBefore } = state
  const [liveNic, liveBridge] = [now.links.get(nic), now.links.get(bridge)]
  if (liveNic === undefined) return restoreBridge(state, now)
  const isPort = liveNic.master === bridge
  return planSteps(
    liveNic.mtu !== nicBefore.mtu && setLink(nic, ['mtu', `${nicBefore.mtu}`]),
    planMoveConfig({
      ...{ from: bridge, to: nic, items, age: now.takenAt - state.takenAt, keptKeys: bridgeKeysOf(state) },
      live: { from: liveBridge, to: liveNic },
      masterStep: isPort && clearMaster(nic),
      neighbourCache: isPort ? (liveBridge?.neighbourCache ?? []) : undefined,
    }).filter(({ command }) => liveBridge !== undefined || !namesLink(command, bridge)),
    nicBefore.addrGenMode !== undefined && setLink(nic, ['addrgenmode', nicBefore.addrGenMode]),
    !nicBefore.up && liveNic.up && setLink(nic, ['down']),
    state.lro.map(enableLro),
    restoreBridge(state, now),
    removeVlanDevice(state, now),
  )
}

/** Makes the NIC a port of the bridge again. */
function planPortRestore({ bridge, nic, items, takenAt }: UplinkState, now: HostState): Plan {
  const [liveNic, liveBridge] = [now.links.get(nic), now.links.get(bridge)]
  if (liveNic === undefined || liveBridge === undefined) return []
  return planSteps(
    planMoveConfig({
      ...{ from: nic, to: bridge, items, age: now.takenAt - takenAt },
      live: { from: liveNic, to: liveBridge },
      masterStep: liveNic.master !== bridge && setMaster(nic, bridge),
    }),
    setLink(bridge, ['addrgenmode', 'eui64']),
  )
}

const namesLink = (command: Command, name: string) =>
  (command.kind === 'ip' && command.words.includes(name)) || (command.kind === 'run' && command.argv.includes(name))

/** Restores the bridge's earlier state; a bridge that pipework created is removed, unless others use it. */
function restoreBridge(state: UplinkState, now: HostState): Plan {
  const { bridge, nic, bridgeBefore, items } = state
  const live = now.links.get(bridge)
  if (live === undefined) return []
  if (bridgeBefore === undefined)
    return hasOtherPorts(bridge, nic, now) || hasOtherConfig(live, items.map(configKeyOf))
      ? [setLink(bridge, ['addrgenmode', 'eui64'])]
      : [{ description: `remove ${bridge}`, command: ip`link del dev ${bridge}` }]
  const { mac, mtu, addrGenMode, up } = bridgeBefore
  return planSteps(
    mac !== live.mac && setLink(bridge, ['address', mac]),
    mtu !== live.mtu && setLink(bridge, ['mtu', `${mtu}`]),
    addrGenMode !== undefined && addrGenMode !== live.addrGenMode && setLink(bridge, ['addrgenmode', addrGenMode]),
    !up && live.up && setLink(bridge, ['down']),
  )
}

function removeVlanDevice({ nic, vlan }: UplinkState, now: HostState): Plan {
  if (vlan === undefined || !now.links.has(nic)) return []
  return [{ description: `remove ${nic}`, command: ip`link del dev ${nic}` }]
}

/** The last steps after the NIC has left the bridge for good. */
export function planMoveCleanup(state: UplinkState, now: HostState): Plan {
  return [...restoreBridge(state, now), ...removeVlanDevice(state, now)]
}

/** Whether other programs have configured the bridge; the kernel adds link-local addresses itself. */
function hasOtherConfig({ configItems }: HostLinkState, known: readonly string[]): boolean {
  return configItems.some((item) => !known.includes(configKeyOf(item)) && !/ fe80:/.test(configKeyOf(item)))
}
