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

export interface GcOptions {
  readonly system: System
  readonly interrupt: Interrupt
  readonly log: Logger
}

/** Seconds to wait for a dead container's NIC: the kernel returns it when the namespace has no process left. */
const NIC_RETURN_TIMEOUT = 10
const NIC_RETURN_POLL = 0.05

type OrphanedNic = HostLink & { readonly alias: string; readonly record: LinkRecord }

/** The NICs that returned from stopped guests, still with their names from the guest. */
function listOrphanedNics(system: System): readonly OrphanedNic[] {
  return readRecordedLinks(system).flatMap((link) => {
    const { record, alias } = link
    return record?.kind === 'link' && record.nic !== undefined ? [{ ...link, record, alias: alias ?? '' }] : []
  })
}

/** The NICs that were moved into the guest and have not returned to the host. */
function listNicsNotBack(guest: string, system: System): readonly string[] {
  const back = listOrphanedNics(system).map(({ record }) => record.nic)
  return readSavedNics(system).flatMap((nic) => (nic.guest === guest && !back.includes(nic.name) ? [nic.name] : []))
}

/** A placeholder: the steps of cleaning up after a stopped guest run on the host only. */
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

/** While its guest runs, a NIC with its record may be about to be moved in. */
async function isGuestRunning({ kind, name }: LinkRecord['guest'], system: System): Promise<boolean> {
  try {
    const { name: found } = await findGuest({ kind: kind as Guest['kind'], name }, system)
    return found === name
  } catch {
    return false
  }
}

/** Restores names, addresses and routes of NICs that returned from stopped guests. */
async function restoreNics(means: GcOptions): Promise<void> {
  for (const { record, alias, ...hostEnd } of listOrphanedNics(means.system)) {
    const nic = readSavedNic(record.nic ?? '', means.system)
    // The guest can forge the record of a link, but not this file: without the file the NIC is left alone.
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

/** Waits until the kernel has returned the guest's NICs, or until the interrupt or the timeout. */
async function waitForNics(guest: string, { system, interrupt }: GcOptions): Promise<void> {
  const deadline = system.elapsed() + NIC_RETURN_TIMEOUT * 1000
  while (listNicsNotBack(guest, system).length > 0 && !interrupt.requested && system.elapsed() < deadline)
    await system.sleep(NIC_RETURN_POLL)
}

/** Removes ports of dead containers from the Open vSwitch database. The bridges stay. */
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

/** Stops the DHCP clients of stopped guests. */
async function endOrphanedClients({ system, log }: GcOptions): Promise<void> {
  const { cleanUpDhcpClients } = await import('../../network/dhcp/cleanup')
  for (const { guest, ifname } of await cleanUpDhcpClients(system))
    log({ level: 'info', about: formatGuest(guest), text: `ended the DHCP client of ${ifname}` })
}

/** Removes firewall rules, routes and settings of stopped guests. */
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

/** Removes the rules of --firewall allow for bridges without a port of ours. */
async function planAcceptRulesGc(system: System): Promise<Plan> {
  const { planAcceptRemoval } = await import('../../firewall/bridge-accept')
  const used = readHostAttachments(system).flatMap(({ hostEnd, record }) => [hostEnd.master ?? '', record.hostif])
  return planAcceptRemoval(used, system)
}

/** Whether the guest has NICs of the host, or they are still returning. */
export function hasMovedNics({ kind, name }: LinkRecord['guest'], system: System): boolean {
  return readSavedNics(system).some(({ guest }) => guest === `${kind}:${name}`)
}

/** Removes everything that stopped guests left on the host. */
export async function collectGarbage(means: GcOptions): Promise<void> {
  for (const tidy of [restoreNics, removeDeadPorts, endOrphanedClients, removeUnusedServices])
    await tidy(means).catch((error: unknown) => {
      if (!(error instanceof PipeworkError)) throw error
      if (!means.interrupt.requested) means.log({ level: 'error', text: error.message, hint: error.hint })
    })
}

/** Does the same after the kernel has returned the guest's NICs. */
export async function collectGuestGarbage({ kind, name }: LinkRecord['guest'], means: GcOptions): Promise<void> {
  await waitForNics(`${kind}:${name}`, means)
  await collectGarbage(means)
}
