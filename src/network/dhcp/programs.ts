import type { AddressSource, DhcpClient } from '../../model/address-sources'
import { PipeworkError } from '../../model/errors'
import type { Guest } from '../../runtimes/find'
import type { Host } from '../../system/types'

/** A client that is there: which, and the words that start it. */
export interface Program {
  readonly program: DhcpClient | 'image'
  readonly command: readonly string[]
}

const PACKAGES: Readonly<Record<DhcpClient, string>> = {
  udhcpc: 'udhcpc',
  dhcpcd: 'dhcpcd-base',
  dhclient: 'isc-dhcp-client',
}

/** The client for a source: the one named, else the first that is installed, else that of Docker's busybox image. */
export async function findProgram(source: AddressSource, guest: Guest, host: Host): Promise<Program> {
  const missing = ['setpriv', 'nsenter', 'setsid'].find((tool) => !host.has(tool))
  if (missing !== undefined)
    throw new PipeworkError(`'${missing}' is not installed, and DHCP needs it`, {
      hint: 'Install it: apt install util-linux',
    })
  for (const name of listCandidates(source)) {
    const command = await findCommand(name, host)
    if (command !== undefined) return { program: name, command }
  }
  if (source.client !== undefined)
    throw new PipeworkError(`'${source.client}' is not installed`, {
      hint: `Install it (apt install ${PACKAGES[source.client]}), or write dhcp for whatever there is.`,
    })
  if (source.family === 4 && guest.kind === 'docker' && host.has('docker')) return { program: 'image', command: [] }
  throw new PipeworkError(`there is no DHCP client${source.family === 6 ? ' for IPv6' : ''} on this host`, {
    hint: `Install one: apt install ${source.family === 6 ? 'isc-dhcp-client' : 'udhcpc'}`,
  })
}

/** The quickest first. Options belong to a client: those of dhcp are udhcpc's, as they were in the original. */
function listCandidates({ client, family, options }: AddressSource): readonly DhcpClient[] {
  if (client !== undefined) return [client]
  if (family === 6) return options.length > 0 ? ['dhclient'] : ['dhclient', 'dhcpcd']
  return options.length > 0 ? ['udhcpc'] : ['udhcpc', 'dhcpcd', 'dhclient']
}

async function findCommand(name: DhcpClient, host: Host): Promise<readonly string[] | undefined> {
  if (host.has(name)) return [name]
  if (name !== 'udhcpc' || !host.has('busybox')) return undefined
  const { stdout } = await host.run(['busybox', '--list'])
  return /^udhcpc$/m.test(stdout) ? ['busybox', 'udhcpc'] : undefined
}
