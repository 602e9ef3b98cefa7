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

/** The kinds of links that the kernel does not know: it is asked in a network namespace that lasts as long as the question. */
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

/** Seconds that an engine may take to say what it is. */
const INFO_TIMEOUT = 3

/** Whose containers the docker command means, where they are not this machine's own. */
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

/** Why Open vSwitch does not answer, where something of ours hangs on it. */
export async function readOvsProblem(
  seats: readonly ExistingAttachment[],
  links: readonly string[],
  system: System,
): Promise<MachineState['ovs']> {
  // A host end without a master hangs on a userspace datapath, if the record's bridge is none of the kernel's.
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

/** What of the host's side of the attachments is gone; nobody is asked where none has more than a link. */
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
