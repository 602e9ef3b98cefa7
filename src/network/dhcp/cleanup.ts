import type { System } from '../../system/types'
import { dhcpContainerName } from './clients'
import { type ClientState, isExpired, listClientStates, readClientState } from './state'
import { readSupervisorArguments, stopSupervisorArgv } from './supervisor'

/** A client that was stopped, or whose files were removed. */
export type RemovedDhcpClient = Pick<ClientState['client'], 'guest' | 'ifname' | 'family'>

/**
 * Stops clients that outlived their guest or their supervisor, and removes expired leases. A supervisor notices the end of
 * its guest itself; this is for supervisors that were killed, and for callers that cannot wait. Needs root.
 */
export async function cleanUpDhcpClients(system: System): Promise<readonly RemovedDhcpClient[]> {
  if (!system.isRoot) return []
  const removed = await Promise.all(listClientStates(system).map((state) => cleanUpLocked(state, system)))
  return removed.flat()
}

/** Takes the lock of the interface: a client that an attach is starting has no supervisor yet. */
async function cleanUpLocked(
  { directory, client: { netns, ifname } }: ClientState,
  system: System,
): Promise<readonly RemovedDhcpClient[]> {
  const unlock = await system.tryLock(`${netns}-${ifname}`)
  if (unlock === undefined) return []
  try {
    const state = readClientState(directory, system)
    return state === undefined ? [] : await cleanUpClient(state, system)
  } finally {
    unlock()
  }
}

async function cleanUpClient(state: ClientState, system: System): Promise<readonly RemovedDhcpClient[]> {
  const { client, directory, lease, isRunning } = state
  const { guest, ifname, family, program } = client
  if (isRunning) {
    const [guestPath] = readSupervisorArguments(state) ?? []
    if (guestPath === undefined || system.inode(guestPath) === client.netns) return []
    await system.run(stopSupervisorArgv(state))
    return [{ guest, ifname, family }]
  }
  // Docker is the parent of the image's client: it does not end with its supervisor.
  const isOrphan = program === 'image' && system.read(`${directory}/pid`) !== undefined
  if (isOrphan) await system.run(['docker', 'rm', '--force', dhcpContainerName(directory)])
  if (lease !== undefined && !isExpired(lease, system)) return []
  if (lease === undefined && system.read(`${directory}/keeper`) === undefined) return []
  await system.run(['rm', '-rf', directory])
  return [{ guest, ifname, family }]
}
