import { parseRecordVlans } from '../model/request'
import type { VlanSet } from '../model/vlan'
import type { Plan, RunCommand, Step } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import type { PortVlan, PortVlans } from '../state/bridge-vlans'
import type { CommandResult } from '../system/types'

/** VLAN of the ports of a new bridge: the kernel's default. */
const DEFAULT_PVID = 1

/** The VLANs that a bridge gives a new port. */
function defaultVlans(defaultPvid: number): readonly PortVlan[] {
  return defaultPvid === 0 ? [] : [{ id: defaultPvid, pvid: true, untagged: true }]
}

/** The requested VLANs as a port of a Linux bridge lists them. */
function toPortVlans({ native, tagged }: VlanSet): readonly PortVlan[] {
  return [
    ...(native === undefined ? [] : [{ id: native, pvid: true, untagged: true }]),
    ...tagged.flatMap(([from, to]) =>
      Array.from({ length: to - from + 1 }, (_, index) => ({ id: from + index, pvid: false, untagged: false })),
    ),
  ]
}

/** A range of VLAN ids with the same change. */
interface VlanRangeChange {
  readonly from: number
  readonly to: number
  readonly before: PortVlan | undefined
  readonly after: PortVlan | undefined
}

const isSameMembership = (a: PortVlan | undefined, b: PortVlan | undefined) =>
  a?.pvid === b?.pvid && a?.untagged === b?.untagged

function diffVlans(live: readonly PortVlan[], wanted: readonly PortVlan[]): readonly VlanRangeChange[] {
  const [before, after] = [live, wanted].map((vlans) => new Map(vlans.map((vlan) => [vlan.id, vlan])))
  const ids = [...new Set([...wanted, ...live].map(({ id }) => id))]
  const changes: VlanRangeChange[] = []
  for (const id of ids) {
    const change = { from: id, to: id, before: before?.get(id), after: after?.get(id) }
    if (isSameMembership(change.before, change.after)) continue
    const last = changes.at(-1)
    if (
      last?.to === id - 1 &&
      isSameMembership(last.before, change.before) &&
      isSameMembership(last.after, change.after)
    )
      changes[changes.length - 1] = { ...last, to: id }
    else changes.push(change)
  }
  return changes
}

function vlanCommand(
  port: string,
  { from, to }: Pick<VlanRangeChange, 'from' | 'to'>,
  vlan: PortVlan | undefined,
): RunCommand {
  const words = ['dev', port, 'vid', from === to ? `${from}` : `${from}-${to}`]
  const flags = [...(vlan?.pvid ? ['pvid'] : []), ...(vlan?.untagged ? ['untagged'] : [])]
  const argv = ['bridge', 'vlan', vlan === undefined ? 'del' : 'add', ...words, ...flags]
  return { kind: 'run', in: 'host', argv }
}

function describeVlanChange(port: string, { from, to, after }: VlanRangeChange): string {
  const vlans = from === to ? `VLAN ${from}` : `VLANs ${from} to ${to}`
  if (after === undefined) return `take ${port} out of ${vlans}`
  return `put ${port} into ${vlans}, ${after.untagged ? 'without a tag' : 'with a tag'}`
}

/** The refusal on kernels without CONFIG_BRIDGE_VLAN_FILTERING. */
export const NO_VLAN_FILTERING = {
  message: 'the bridges of this kernel have no VLANs',
  hint: 'It was built without CONFIG_BRIDGE_VLAN_FILTERING. Open vSwitch has them: a bridge called ovs….',
} as const

/** Explains the errors of `ip` and `bridge` on such a kernel. */
export function explainVlanFailure({ stderr }: CommandResult): ReturnType<NonNullable<Step['explainFailure']>> {
  return /not supported/i.test(stderr) ? NO_VLAN_FILTERING : undefined
}

/** The steps from the port's current VLANs to the wanted ones: additions first, then removals. */
function planVlanChanges(port: string, live: readonly PortVlan[], wanted: readonly PortVlan[]): Plan {
  const changes = diffVlans(live, wanted)
  const native = live.find(({ pvid }) => pvid)
  const restoreNative = native === undefined ? [] : [vlanCommand(port, { from: native.id, to: native.id }, native)]
  return [...changes.filter(({ after }) => after), ...changes.filter(({ after }) => !after)].map((change) => ({
    description: describeVlanChange(port, change),
    command: vlanCommand(port, change, change.after),
    // A port has one native VLAN: the undo must set the previous one again.
    undo: [vlanCommand(port, change, change.before), ...(change.after?.pvid ? restoreNative : [])],
    explainFailure: explainVlanFailure,
  }))
}

/** The commands that restore the VLANs of a link that has just become a port again. */
export function restoreVlanCommands(port: string, before: PortVlans | undefined): readonly RunCommand[] {
  if (before === undefined) return []
  return planVlanChanges(port, defaultVlans(before.defaultPvid), before.vlans).flatMap(({ command }) =>
    command.kind === 'run' ? [command] : [],
  )
}

/**
 * Sets the VLANs of a port of the request's bridge, which may just have become one. Without requested VLANs, those that
 * a user set by hand are kept.
 */
export function planPortVlans({ request, facts }: AttachContext, name: string): Plan {
  const { hostEnd, portVlans, hostif } = facts
  const fresh = defaultVlans(hostif?.defaultPvid ?? DEFAULT_PVID)
  const live = portVlans !== undefined && hostEnd?.master === request.hostif ? portVlans.vlans : fresh
  if (request.vlan !== undefined) return planVlanChanges(name, live, toPortVlans(request.vlan))
  const record = findLinkRecord(facts)
  // With an uplink, the VLAN belongs to the uplink.
  const had = record === undefined || record.uplink !== undefined ? undefined : parseRecordVlans(record.words)
  return had === undefined ? [] : planVlanChanges(name, live, fresh)
}
