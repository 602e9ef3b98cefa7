import { planUnplug } from '../../drivers/ovs'
import { PipeworkError } from '../../model/errors'
import { mayHaveOutside } from '../../model/host-services'
import { execute } from '../../plan/execute'
import type { Plan } from '../../plan/step'
import { findGuest, type Guest } from '../../runtimes/find'
import { pickDeadPorts, readHostSide, readOvsIfThere } from '../../state/attachments'
import { type HostLink, readOurLinks } from '../../state/host-links'
import { formatGuest, type LinkRecord } from '../../state/record'
import { listNics, readNic } from '../../state/saved-link'
import type { Host, Interrupt } from '../../system/types'
import { planDetach } from '../detach/plan'
import type { Log } from './log'

/** What is put in order with, and who is told. */
export interface TidyMeans {
  readonly host: Host
  readonly interrupt: Interrupt
  readonly log: Log
}

/** Seconds that the kernel may take to give a dead container's NIC back: it does so when nobody is left in there. */
const RETURN_LIMIT = 10
const RETURN_POLL = 0.05

type Stray = HostLink & { readonly alias: string; readonly record: LinkRecord }

/** The NICs that fell back from guests that ended, under the names that they had in there. */
function listStrays(host: Host): readonly Stray[] {
  return readOurLinks(host).flatMap((link) => {
    const { record, alias } = link
    return record?.kind === 'link' && record.nic !== undefined && alias !== undefined
      ? [{ ...link, record, alias }]
      : []
  })
}

/** The NICs that were moved into the guest and are not in the host. */
function listAway(guest: string, host: Host): readonly string[] {
  const back = listStrays(host).map(({ record }) => record.nic)
  return listNics(host).filter((name) => readNic(name, host)?.guest === guest && !back.includes(name))
}

/** No step of a plan for what a dead guest has left runs inside one. */
function absent({ kind, name }: LinkRecord['guest']): Guest {
  return { kind: kind as Guest['kind'], name, nsPath: '/proc/self/ns/net' }
}

async function act(plan: Plan, guest: LinkRecord['guest'], { host, interrupt }: Pick<TidyMeans, 'host' | 'interrupt'>) {
  await execute(plan, { host, guest: absent(guest), netns: '', interrupt })
}

/** While its guest runs, a NIC that carries its record may be on its way in. */
async function isRunning({ kind, name }: LinkRecord['guest'], host: Host): Promise<boolean> {
  try {
    const { name: found } = await findGuest({ kind: kind as Guest['kind'], name }, host)
    return found === name
  } catch {
    return false
  }
}

/** Gives the NICs that fell back from guests which do not run their names, addresses and routes again. */
async function returnNics(means: TidyMeans): Promise<void> {
  for (const { record, alias, ...hostEnd } of listStrays(means.host)) {
    const nic = readNic(record.nic ?? '', means.host)
    // Who can write on a link cannot make up the file: a NIC of which there is none is left as it is.
    if (nic === undefined || nic.guest !== `${record.guest.kind}:${record.guest.name}`) continue
    if (means.interrupt.heard || (await isRunning(record.guest, means.host))) continue
    await act(planDetach({ attached: { record, alias, hostEnd }, others: [], sysctls: {}, nic }), record.guest, means)
    means.log({ level: 'info', about: formatGuest(record.guest), text: `${nic.name} is back in the host, as it was` })
  }
}

/** Waits until the kernel has given the guest's NICs back, or the interrupt is heard, or it takes too long. */
async function awaitNics(guest: string, { host, interrupt }: TidyMeans): Promise<void> {
  const deadline = host.elapsed() + RETURN_LIMIT * 1000
  while (listAway(guest, host).length > 0 && !interrupt.heard && host.elapsed() < deadline)
    await host.sleep(RETURN_POLL)
}

/** Takes the rows of dead containers out of the database of Open vSwitch. The bridges stay. */
async function sweepPorts(means: TidyMeans): Promise<void> {
  const ovs = await readOvsIfThere(means.host)
  for (const { record, deadPort } of pickDeadPorts(ovs)) {
    if (deadPort === undefined || ovs === undefined || means.interrupt.heard) continue
    await act(planUnplug({ port: deadPort, dead: [], isSwitching: ovs.isSwitching }), record.guest, means)
    const text = `${deadPort.name} is no longer a port of ${deadPort.bridge}`
    means.log({ level: 'info', about: formatGuest(record.guest), text })
  }
}

/** Ends the DHCP clients that outlived their guests. */
async function sweepLeases({ host, log }: TidyMeans): Promise<void> {
  const { sweepClients } = await import('../../network/dhcp/cleanup')
  for (const { guest, ifname } of await sweepClients(host))
    log({ level: 'info', about: formatGuest(guest), text: `ended the DHCP client of ${ifname}` })
}

/** Takes away what of firewall, routes and settings was for guests that have ended. */
async function sweepOutside({ host, interrupt, log }: TidyMeans): Promise<void> {
  const isFiltered = host.inode('/proc/sys/net/bridge') !== undefined
  if (!isFiltered && !mayHaveOutside(host)) return
  const { lockShared } = await import('../../system/locks')
  const release = await lockShared({ host, interrupt })
  try {
    const plan = [...(await planOutside(host)), ...(isFiltered ? await planBridges(host) : [])]
    await act(plan, { kind: 'docker', name: 'nobody' }, { host, interrupt })
    for (const { why } of plan) log({ level: 'info', text: why })
  } finally {
    release()
  }
}

async function planOutside(host: Host): Promise<Plan> {
  if (!mayHaveOutside(host)) return []
  const { planSweep } = await import('../../network/host-services')
  return planSweep(host)
}

/** The rules of --firewall allow for bridges without a port of ours. */
async function planBridges(host: Host): Promise<Plan> {
  const { planNoPassage } = await import('../../firewall/bridge-accept')
  const used = readHostSide(host).flatMap(({ hostEnd, record }) => [hostEnd.master ?? '', record.hostif])
  return planNoPassage(used, host)
}

/** Whether NICs of the host are in that guest, or on their way back. */
export function hasNicsAway({ kind, name }: LinkRecord['guest'], host: Host): boolean {
  return listNics(host).some((nic) => readNic(nic, host)?.guest === `${kind}:${name}`)
}

/** Puts in order what all guests that have ended left on the host. */
export async function tidyAll(means: TidyMeans): Promise<void> {
  for (const tidy of [returnNics, sweepPorts, sweepLeases, sweepOutside])
    await tidy(means).catch((error: unknown) => {
      if (!(error instanceof PipeworkError)) throw error
      if (!means.interrupt.heard) means.log({ level: 'error', text: error.message, hint: error.hint })
    })
}

/** The same, when the kernel has given back what that guest had. */
export async function tidyGuest({ kind, name }: LinkRecord['guest'], means: TidyMeans): Promise<void> {
  await awaitNics(`${kind}:${name}`, means)
  await tidyAll(means)
}
