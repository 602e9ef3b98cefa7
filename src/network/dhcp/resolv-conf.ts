import { PipeworkError } from '../../model/errors'
import type { Guest } from '../../runtimes/find'
import type { System } from '../../system/types'

/**
 * The file on the host that the guest sees as its /etc/resolv.conf. The path inside the guest is not used: it may be a
 * symbolic link to anywhere.
 */
export async function findResolvConf({ kind, name, id }: Guest, system: System): Promise<string> {
  // `ip netns exec` mounts it over /etc/resolv.conf (ip-netns(8)).
  if (kind === 'netns') return `/etc/netns/${name}/resolv.conf`
  const path = kind === 'docker' || kind === 'podman' ? await readResolvConfPath(kind, id ?? name, system) : undefined
  if (path !== undefined) return path
  throw new PipeworkError(`--dhcp-dns: the resolv.conf of '${name}' cannot be found`, {
    hint:
      kind === 'podman'
        ? 'With --network none, Podman gives a container no resolv.conf: give it a network, or leave --dhcp-dns out.'
        : 'It works for Docker and Podman containers without a volume on that file, and for namespaces of `ip netns`.',
  })
}

/**
 * The engine's own file for the container, or for the one whose network it shares: the id is in its path. With
 * `--volume …:/etc/resolv.conf` the engine reports that file instead, which may be the host's own.
 */
async function readResolvConfPath(
  program: 'docker' | 'podman',
  wanted: string,
  system: System,
): Promise<string | undefined> {
  const format = '{{.Id}} {{.HostConfig.NetworkMode}} {{.ResolvConfPath}}'
  const { code, stdout } = await system.run([program, 'inspect', '--type', 'container', '--format', format, wanted])
  const [id = '', network = '', path = ''] = code === 0 ? stdout.trim().split(' ') : []
  const owners = [id, network.replace(/^container:/, '')].filter((it) => /^[0-9a-f]{64}$/.test(it))
  const folders = path.split('/')
  const isOwnFile =
    owners.some((it) => folders.includes(it)) && path.startsWith('/') && folders.at(-1) === 'resolv.conf'
  return isOwnFile && !folders.includes('..') ? path : undefined
}
