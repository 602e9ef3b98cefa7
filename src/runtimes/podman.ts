import type { System } from '../system/types'
import { inspectByCommand, inspectOverSocket, mayBeForeignProcess, unreachableGuest } from './engine'
import type { ContainerRuntime, GuestLookup } from './types'

const PODMAN_SOCKET = '/run/podman/podman.sock'

/** Podman of the user who runs pipework: with sudo, root's. */
export const podmanRuntime: ContainerRuntime = {
  kind: 'podman',
  noun: 'container',
  title: 'Podman',
  program: 'podman',
  listCommand: 'podman ps',
  async find(name, system) {
    const answer = await inspectPodman(name, system)
    const { CONTAINER_HOST } = system.env
    if (answer.state !== 'found' || !CONTAINER_HOST || !mayBeForeignProcess(answer.guest, system)) return answer
    return unreachableGuest(
      answer.guest,
      `CONTAINER_HOST is '${CONTAINER_HOST}'`,
      'Run pipework on the machine where the container runs.',
    )
  },
}

/** Podman serves Docker's API only where systemd listens for it; its command works everywhere, but is slower. */
async function inspectPodman(name: string, system: System): Promise<GuestLookup> {
  const socket = findPodmanSocket(system)
  if (socket === undefined || system.inode(socket) === undefined) return inspectByCommand(podmanRuntime, name, system)
  return inspectOverSocket(podmanRuntime, name, { socket, system }).catch((error: unknown) => {
    if ((error as { code?: string }).code === undefined) throw error
    return inspectByCommand(podmanRuntime, name, system)
  })
}

/** The socket of Podman's service; undefined when only the command can connect. */
export function findPodmanSocket({ env: { CONTAINER_HOST } }: System): string | undefined {
  return CONTAINER_HOST ? /^unix:\/\/(.+)$/.exec(CONTAINER_HOST)?.[1] : PODMAN_SOCKET
}
