import type { Host } from '../system/types'
import { askCommand, askSocket, isStrange, outOfReach } from './engine'
import type { Answer, Runtime } from './types'

const PODMAN_SOCKET = '/run/podman/podman.sock'

/** Podman of the user who runs pipework: with sudo, root's. */
export const podman: Runtime = {
  kind: 'podman',
  noun: 'container',
  title: 'Podman',
  program: 'podman',
  lists: 'podman ps',
  async find(name, host) {
    const answer = await ask(name, host)
    const { CONTAINER_HOST } = host.env
    if (answer.state !== 'found' || !CONTAINER_HOST || !isStrange(answer.guest, host)) return answer
    return outOfReach(
      answer.guest,
      `CONTAINER_HOST is '${CONTAINER_HOST}'`,
      'Run pipework on the machine where the container runs.',
    )
  },
}

/** Podman serves Docker's API where systemd listens for it; the command works everywhere, and takes 60 ms with execa's 18. */
async function ask(name: string, host: Host): Promise<Answer> {
  const socket = podmanSocket(host)
  if (socket === undefined || host.inode(socket) === undefined) return askCommand(podman, name, host)
  return askSocket(podman, name, { socket, host }).catch((error: unknown) => {
    if ((error as { code?: string }).code === undefined) throw error
    return askCommand(podman, name, host)
  })
}

/** Where Podman's service listens when it runs, or undefined where only the command knows the way. */
export function podmanSocket({ env: { CONTAINER_HOST } }: Host): string | undefined {
  return CONTAINER_HOST ? /^unix:\/\/(.+)$/.exec(CONTAINER_HOST)?.[1] : PODMAN_SOCKET
}
