import type { ExistingAttachment } from '../state/attachments'
import { readAttachments, readOvsIfRunning } from '../state/attachments'
import { type HostLink, readHostLink } from '../state/host-links'
import { type HostSubnets, readSubnets } from '../state/subnets'
import type { System } from '../system/types'
import { listUplinkBridges, readUplinkState } from './uplink/state-file'

/** The data of a diagram. */
export interface DiagramData {
  readonly links: readonly HostLink[]
  readonly attachments: readonly ExistingAttachment[]
  readonly subnets: HostSubnets
  /** NICs that pipework has put into bridges. */
  readonly uplinks: readonly string[]
  /** Open vSwitch bridges, with their ports. */
  readonly ovsBridges: readonly { readonly name: string; readonly ports: readonly string[] }[]
}

/** Reads the links, bridges and attachments of the host. */
export async function readDiagramData(system: System): Promise<DiagramData> {
  const [attachments, ovs] = await Promise.all([
    readAttachments(system),
    readOvsIfRunning(system).catch(() => undefined),
  ])
  const links = (system.list('/sys/class/net') ?? []).flatMap((name) => readHostLink(name, system) ?? [])
  const ovsBridges = (ovs?.bridges ?? []).map(({ name }) => ({
    name,
    ports: (ovs?.ports ?? []).filter(({ bridge }) => bridge === name).map((port) => port.name),
  }))
  const uplinks = listUplinkBridges(system).flatMap((bridge) => readUplinkState(bridge, system)?.nic ?? [])
  return { attachments, links, ovsBridges, subnets: readSubnets(system), uplinks }
}
