import { hostServicesOf, needsHostServices } from '../../model/host-services'
import { parseRouted } from '../../model/routed'
import { listMissingServices } from '../../network/host-services'
import { readCurrentState } from '../../network/host-services/current'
import { findDockerSocket, readDockerContext } from '../../runtimes/docker'
import type { ExistingAttachment } from '../../state/attachments'
import { isOvsRunning, mayBeOvsPort, readOvs } from '../../state/ovsdb'
import type { System } from '../../system/types'
import { LINK_KIND_MODULES } from './host'
import type { DoctorState, MachineState } from './state'

/** The link kinds that the kernel does not support, tried in a temporary network namespace. */
export async function readMissingLinkKinds(system: System): Promise<readonly string[]> {
  const unsure = Object.entries(LINK_KIND_MODULES).filter(
    ([, { module }]) => system.inode(`/sys/module/${module}`) === undefined,
  )
  const answers = await Promise.all(
    unsure.map(async ([kind]) => {
      const argv = ['unshare', '--net', 'ip', 'link', 'add', 'name', 'pw0', 'type', kind]
      const { stderr } = await system.run(argv).catch(() => ({ stderr: '' }))
      return /Unknown device type/i.test(stderr) ? [kind] : []
    }),
  )
  return answers.flat()
}

/** Seconds that an engine may take to answer. */
const INFO_TIMEOUT = 3

/** The problem when the docker command uses a remote or rootless Docker. */
export async function readDockerProblem(system: System): Promise<MachineState['docker']> {
  const socket = findDockerSocket(system)
  const { DOCKER_HOST } = system.env
  if (socket === undefined)
    return DOCKER_HOST
      ? { kind: 'remote', evidence: `DOCKER_HOST is '${DOCKER_HOST}'`, command: 'unset DOCKER_HOST' }
      : {
          kind: 'remote',
          evidence: `the Docker context is '${readDockerContext(system)}'`,
          command: 'docker context use default',
        }
  if (system.inode(socket) === undefined) return undefined
  const { body } = await system.httpGet(socket, '/info', INFO_TIMEOUT).catch(() => ({ body: '' }))
  return /"name=rootless"/.test(body)
    ? {
        kind: 'rootless',
        evidence: `${socket} says so: SecurityOptions has name=rootless`,
        command: 'unset DOCKER_HOST; docker context use default',
      }
    : undefined
}

/** Why Open vSwitch does not answer, when an attachment depends on it. */
export async function readOvsProblem(
  seats: readonly ExistingAttachment[],
  links: readonly string[],
  system: System,
): Promise<MachineState['ovs']> {
  // Without a master, the host end belongs to a userspace datapath, if the recorded bridge is not a kernel bridge.
  const isNeeded = seats.some(
    ({ record: { hostif, nic }, hostEnd }) =>
      hostEnd !== undefined &&
      nic === undefined &&
      parseRouted(hostif) === undefined &&
      mayBeOvsPort(hostEnd) &&
      !links.includes(hostif),
  )
  if (!isNeeded && !isOvsRunning(system)) return undefined
  const ovs = await readOvs(system)
  if (ovs.kind === 'silent') return isNeeded ? ovs : undefined
  return ovs.isVswitchdRunning || !isNeeded
    ? undefined
    : {
        message: 'Open vSwitch does not switch: ovs-vswitchd does not run',
        hint: 'Start it: systemctl start openvswitch-switch',
      }
}

/** The missing host services of each attachment; reads nothing when no attachment has any. */
export async function readMissingServices(
  all: readonly ExistingAttachment[],
  system: System,
): Promise<DoctorState['missingServices']> {
  if (!all.some(({ record }) => needsHostServices(hostServicesOf(record)))) return new Map()
  const live = await readCurrentState(system)
  return new Map(
    all.flatMap((attached) => {
      const missing = listMissingServices(attached, live, system)
      return missing.length === 0 ? [] : [[attached, missing] as const]
    }),
  )
}
