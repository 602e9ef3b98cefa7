import { PipeworkError } from '../../model/errors'
import type { Guest } from '../../runtimes/find'
import type { System } from '../../system/types'

/**
 * The file of the host that the guest sees as its /etc/resolv.conf. What stands at that path inside the guest may be a
 * link that leads anywhere, and is not followed.
 */
export async function findResolvConf({ kind, name, id }: Guest, system: System): Promise<string> {
  // What `ip netns exec` puts over /etc/resolv.conf (ip-netns(8)).
  if (kind === 'netns') return `/etc/netns/${name}/resolv.conf`
  const path = kind === 'docker' || kind === 'podman' ? await readResolvConfPath(kind, id ?? name, system) : undefined
  if (path !== undefined) return path
  throw new PipeworkError(`--dhcp-dns: it is not known where '${name}' has its resolv.conf`, {
    hint:
      kind === 'podman'
        ? 'Podman gives a container none of its own with --network none: give it a network, or leave --dhcp-dns out.'
        : 'It is known of containers of Docker and Podman without a volume on that file, and of namespaces of `ip netns`.',
  })
}

/**
 * The file that the engine keeps for the container, or for the one whose network it shares: it has the id in its path.
 * Of a container with a `--volume …:/etc/resolv.conf` the engine names that file of the host, and it may be the host's own.
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
  const isKept = owners.some((it) => folders.includes(it)) && path.startsWith('/') && folders.at(-1) === 'resolv.conf'
  return isKept && !folders.includes('..') ? path : undefined
}
