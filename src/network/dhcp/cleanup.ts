import type { System } from '../../system/types'
import { type ClientState, leaseExpiry, listClientStates, readClientState } from './state'
import { dhcpContainerName } from './supervisor'

/** What a sweep has ended or forgotten. */
export type RemovedDhcpClient = Pick<ClientState['client'], 'guest' | 'ifname' | 'family'>

/**
 * Ends what outlived its guest or its keeper, and forgets leases that have run out. A keeper ends with its guest by
 * itself, within half a second; this is for what was killed, and for whoever cannot wait. Needs root.
 */
export async function cleanUpDhcpClients(system: System): Promise<readonly RemovedDhcpClient[]> {
  if (!system.isRoot) return []
  const swept = await Promise.all(listClientStates(system).map((tenant) => cleanUpLocked(tenant, system)))
  return swept.flat()
}

/** With the lock of an attach: what one is about to start looks like what nobody keeps. */
async function cleanUpLocked(
  { directory, client: { netns, ifname } }: ClientState,
  system: System,
): Promise<readonly RemovedDhcpClient[]> {
  const unlock = system.tryLock(`${netns}-${ifname}`)
  if (unlock === undefined) return []
  try {
    const tenant = readClientState(directory, system)
    return tenant === undefined ? [] : await cleanUpClient(tenant, system)
  } finally {
    unlock()
  }
}

async function cleanUpClient(tenant: ClientState, system: System): Promise<readonly RemovedDhcpClient[]> {
  const { client, directory, lease, isRunning } = tenant
  const { guest, ifname, family, program } = client
  if (isRunning) {
    const guestPath = /^dir=\S+ guest=(\S+) /m.exec(tenant.files.keep ?? '')?.[1]
    if (guestPath === undefined || system.inode(guestPath) === client.netns) return []
    await system.run(['sh', `${directory}/keep`, '--stop'])
    return [{ guest, ifname, family }]
  }
  // The image's client is a child of Docker's, and does not die with its keeper.
  const isStray = program === 'image' && system.read(`${directory}/pid`) !== undefined
  if (isStray) await system.run(['docker', 'rm', '--force', dhcpContainerName(directory)])
  if (lease !== undefined && leaseExpiry(lease) > system.now() / 1000) return []
  if (lease === undefined && system.read(`${directory}/keeper`) === undefined) return []
  await system.run(['rm', '-rf', directory])
  return [{ guest, ifname, family }]
}
