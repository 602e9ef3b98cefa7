import { planOvsPortRemoval } from '../../drivers/ovs'
import { PipeworkError } from '../../model/errors'
import { executePlan } from '../../plan/execute'
import type { Plan } from '../../plan/step'
import { findGuest, type Guest } from '../../runtimes/find'
import { listDeadPorts, readHostAttachments, readOvsIfRunning } from '../../state/attachments'
import { readHostState } from '../../state/host'
import { type HostLink, readRecordedLinks } from '../../state/host-links'
import { mayHaveHostServices } from '../../state/marker'
import { formatGuest, type LinkRecord } from '../../state/record'
import { readSavedNic, readSavedNics } from '../../state/saved-link'
import type { Interrupt, System } from '../../system/types'
import { planDetach } from '../detach/plan'
import type { Logger } from './log'

/** What is put in order with, and who is told. */
export interface GcOptions {
  readonly system: System
  readonly interrupt: Interrupt
  readonly log: Logger
}

/** Seconds that the kernel may take to give a dead container's NIC back: it does so when nobody is left in there. */
const NIC_RETURN_TIMEOUT = 10
const NIC_RETURN_POLL = 0.05

type OrphanedNic = HostLink & { readonly alias: string; readonly record: LinkRecord }

/** The NICs that fell back from guests that ended, under the names that they had in there. */
function listOrphanedNics(system: System): readonly OrphanedNic[] {
  return readRecordedLinks(system).flatMap((link) => {
    const { record, alias } = link
    return record?.kind === 'link' && record.nic !== undefined ? [{ ...link, record, alias: alias ?? '' }] : []
  })
}

/** The NICs that were moved into the guest and are not in the host. */
function listNicsNotBack(guest: string, system: System): readonly string[] {
  const back = listOrphanedNics(system).map(({ record }) => record.nic)
  return readSavedNics(system).flatMap((nic) => (nic.guest === guest && !back.includes(nic.name) ? [nic.name] : []))
}

/** No step of a plan for what a dead guest has left runs inside one. */
function toStoppedGuest({ kind, name }: LinkRecord['guest']): Guest {
  return { kind: kind as Guest['kind'], name, nsPath: '/proc/self/ns/net' }
}

async function executeOnHost(
  plan: Plan,
  guest: LinkRecord['guest'],
  { system, interrupt }: Pick<GcOptions, 'system' | 'interrupt'>,
) {
  await executePlan(plan, { system, guest: toStoppedGuest(guest), netns: '', interrupt })
}

/** While its guest runs, a NIC that carries its record may be on its way in. */
async function isGuestRunning({ kind, name }: LinkRecord['guest'], system: System): Promise<boolean> {
  try {
    const { name: found } = await findGuest({ kind: kind as Guest['kind'], name }, system)
    return found === name
  } catch {
    return false
  }
}

/** Gives the NICs that fell back from guests which do not run their names, addresses and routes again. */
async function restoreNics(means: GcOptions): Promise<void> {
  for (const { record, alias, ...hostEnd } of listOrphanedNics(means.system)) {
    const nic = readSavedNic(record.nic ?? '', means.system)
    // Who can write on a link cannot make up the file: a NIC of which there is none is left as it is.
    if (nic === undefined || nic.guest !== `${record.guest.kind}:${record.guest.name}`) continue
    if (means.interrupt.requested || (await isGuestRunning(record.guest, means.system))) continue
    await executeOnHost(
      planDetach({
        attachment: { record, alias, hostEnd },
        others: [],
        sysctls: {},
        savedNic: nic,
        hostState: await readHostState(means.system),
      }),
      record.guest,
      means,
    )
    means.log({ level: 'info', about: formatGuest(record.guest), text: `${nic.name} is back in the host, as it was` })
  }
}

/** Waits until the kernel has given the guest's NICs back, or the interrupt is heard, or it takes too long. */
async function waitForNics(guest: string, { system, interrupt }: GcOptions): Promise<void> {
  const deadline = system.elapsed() + NIC_RETURN_TIMEOUT * 1000
  while (listNicsNotBack(guest, system).length > 0 && !interrupt.requested && system.elapsed() < deadline)
    await system.sleep(NIC_RETURN_POLL)
}

/** Takes the rows of dead containers out of the database of Open vSwitch. The bridges stay. */
async function removeDeadPorts(means: GcOptions): Promise<void> {
  const ovs = await readOvsIfRunning(means.system)
  for (const { record, deadPort } of listDeadPorts(ovs)) {
    if (deadPort === undefined || ovs === undefined || means.interrupt.requested) continue
    await executeOnHost(
      planOvsPortRemoval({ port: deadPort, deadPorts: [], isDaemonRunning: ovs.isVswitchdRunning }),
      record.guest,
      means,
    )
    const text = `${deadPort.name} is no longer a port of ${deadPort.bridge}`
    means.log({ level: 'info', about: formatGuest(record.guest), text })
  }
}

/** Ends the DHCP clients that outlived their guests. */
async function endOrphanedClients({ system, log }: GcOptions): Promise<void> {
  const { cleanUpDhcpClients } = await import('../../network/dhcp/cleanup')
  for (const { guest, ifname } of await cleanUpDhcpClients(system))
    log({ level: 'info', about: formatGuest(guest), text: `ended the DHCP client of ${ifname}` })
}

/** Takes away what of firewall, routes and settings was for guests that have ended. */
async function removeUnusedServices({ system, interrupt, log }: GcOptions): Promise<void> {
  const isFiltered = system.inode('/proc/sys/net/bridge') !== undefined
  if (!isFiltered && !mayHaveHostServices(system)) return
  const { lockHostServices } = await import('../../system/locks')
  const release = await lockHostServices({ system, interrupt })
  try {
    const plan = [...(await planServicesGc(system)), ...(isFiltered ? await planAcceptRulesGc(system) : [])]
    await executeOnHost(plan, { kind: 'docker', name: 'nobody' }, { system, interrupt })
    for (const { description } of plan) log({ level: 'info', text: description })
  } finally {
    release()
  }
}

async function planServicesGc(system: System): Promise<Plan> {
  if (!mayHaveHostServices(system)) return []
  const { planServiceCleanup } = await import('../../network/host-services')
  return planServiceCleanup(system)
}

/** The rules of --firewall allow for bridges without a port of ours. */
async function planAcceptRulesGc(system: System): Promise<Plan> {
  const { planAcceptRemoval } = await import('../../firewall/bridge-accept')
  const used = readHostAttachments(system).flatMap(({ hostEnd, record }) => [hostEnd.master ?? '', record.hostif])
  return planAcceptRemoval(used, system)
}

/** Whether NICs of the host are in that guest, or on their way back. */
export function hasMovedNics({ kind, name }: LinkRecord['guest'], system: System): boolean {
  return readSavedNics(system).some(({ guest }) => guest === `${kind}:${name}`)
}

/** Puts in order what all guests that have ended left on the host. */
export async function collectGarbage(means: GcOptions): Promise<void> {
  for (const tidy of [restoreNics, removeDeadPorts, endOrphanedClients, removeUnusedServices])
    await tidy(means).catch((error: unknown) => {
      if (!(error instanceof PipeworkError)) throw error
      if (!means.interrupt.requested) means.log({ level: 'error', text: error.message, hint: error.hint })
    })
}

/** The same, when the kernel has given back what that guest had. */
export async function collectGuestGarbage({ kind, name }: LinkRecord['guest'], means: GcOptions): Promise<void> {
  await waitForNics(`${kind}:${name}`, means)
  await collectGarbage(means)
}
