import { PipeworkError } from '../errors'
import type { Guest } from '../guest'
import type { Host } from '../host'

/**
 * The file of the host that the guest sees as its /etc/resolv.conf. What stands at that path inside the guest may be a
 * link that leads anywhere, and is not followed.
 */
export async function findResolvConf({ kind, name, id }: Guest, host: Host): Promise<string> {
  // What `ip netns exec` puts over /etc/resolv.conf (ip-netns(8)).
  if (kind === 'netns') return `/etc/netns/${name}/resolv.conf`
  const path = kind === 'docker' || kind === 'podman' ? await askEngine(kind, id ?? name, host) : undefined
  if (path !== undefined && /^\/[\w./@:+-]+\/resolv\.conf$/.test(path) && !path.includes('/../')) return path
  throw new PipeworkError(`--dhcp-dns: it is not known where '${name}' has its resolv.conf`, {
    hint:
      kind === 'podman'
        ? 'Podman gives a container none of its own with --network none: give it a network, or leave --dhcp-dns out.'
        : 'It is known of containers of Docker and Podman, and of namespaces of `ip netns`.',
  })
}

async function askEngine(program: 'docker' | 'podman', id: string, host: Host): Promise<string | undefined> {
  const argv = [program, 'inspect', '--type', 'container', '--format', '{{.ResolvConfPath}}', id]
  const { code, stdout } = await host.run(argv)
  return code === 0 ? stdout.trim() : undefined
}
