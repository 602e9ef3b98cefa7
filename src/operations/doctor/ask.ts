import { isConcerned, parseRouted, wishesOf } from '../../model/host-services'
import { listLacking } from '../../network/host-services'
import { readLive } from '../../network/host-services/current'
import { contextOf, dockerSocket } from '../../runtimes/docker'
import { isOvsThere, mayBeOvsPort, readOvs } from '../../state/ovsdb'
import type { Host } from '../../system/types'
import type { Attached } from '../detach/plan'
import { KINDS } from './host'
import type { Machine, Survey } from './state'

/** The kinds of links that the kernel does not know: it is asked in a network namespace that lasts as long as the question. */
export async function readMissingKinds(host: Host): Promise<readonly string[]> {
  const unsure = Object.entries(KINDS).filter(([, { module }]) => host.inode(`/sys/module/${module}`) === undefined)
  const answers = await Promise.all(
    unsure.map(async ([kind]) => {
      const argv = ['unshare', '--net', 'ip', 'link', 'add', 'name', 'pw0', 'type', kind]
      const { stderr } = await host.query(argv).catch(() => ({ stderr: '' }))
      return /Unknown device type/i.test(stderr) ? [kind] : []
    }),
  )
  return answers.flat()
}

/** Seconds that an engine may take to say what it is. */
const INFO_LIMIT = 3

/** Whose containers the docker command means, where they are not this machine's own. */
export async function readDocker(host: Host): Promise<Machine['docker']> {
  const socket = dockerSocket(host)
  const { DOCKER_HOST } = host.env
  if (socket === undefined)
    return DOCKER_HOST
      ? { kind: 'remote', evidence: `DOCKER_HOST is '${DOCKER_HOST}'`, command: 'unset DOCKER_HOST' }
      : {
          kind: 'remote',
          evidence: `the Docker context is '${contextOf(host)}'`,
          command: 'docker context use default',
        }
  if (host.inode(socket) === undefined) return undefined
  const { body } = await host.get(socket, '/info', INFO_LIMIT).catch(() => ({ body: '' }))
  return /"name=rootless"/.test(body)
    ? {
        kind: 'rootless',
        evidence: `${socket} says so: SecurityOptions has name=rootless`,
        command: 'unset DOCKER_HOST; docker context use default',
      }
    : undefined
}

/** Why Open vSwitch does not answer, where something of ours hangs on it. */
export async function readOvsTrouble(
  seats: readonly Attached[],
  links: readonly string[],
  host: Host,
): Promise<Machine['ovs']> {
  // A host end without a master hangs on a userspace datapath, if the record's bridge is none of the kernel's.
  const isNeeded = seats.some(
    ({ record: { hostif, nic }, hostEnd }) =>
      hostEnd !== undefined &&
      nic === undefined &&
      parseRouted(hostif) === undefined &&
      mayBeOvsPort(hostEnd) &&
      !links.includes(hostif),
  )
  if (!isNeeded && !isOvsThere(host)) return undefined
  const ovs = await readOvs(host)
  if (ovs.kind === 'silent') return isNeeded ? ovs : undefined
  return ovs.isSwitching || !isNeeded
    ? undefined
    : {
        message: 'Open vSwitch does not switch: ovs-vswitchd does not run',
        hint: 'Start it: systemctl start openvswitch-switch',
      }
}

/** What of the host's side of the attachments is gone; nobody is asked where none has more than a link. */
export async function readLacking(all: readonly Attached[], host: Host): Promise<Survey['lacking']> {
  if (!all.some(({ record }) => isConcerned(wishesOf(record)))) return new Map()
  const live = await readLive(host)
  return new Map(
    all.flatMap((attached) => {
      const missing = listLacking(attached, live, host)
      return missing.length === 0 ? [] : [[attached, missing] as const]
    }),
  )
}
