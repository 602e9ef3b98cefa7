import type { AddressSource } from '../../model/address-spec'
import type { DhcpClient } from '../../model/dhcp-options'
import { PipeworkError } from '../../model/errors'
import type { Guest } from '../../runtimes/find'
import type { System } from '../../system/types'

/** A client that is there: which, and the words that start it. */
export interface DhcpProgram {
  readonly program: DhcpClient | 'image'
  readonly command: readonly string[]
}

const DHCP_PACKAGES: Readonly<Record<DhcpClient, string>> = {
  udhcpc: 'udhcpc',
  dhcpcd: 'dhcpcd-base',
  dhclient: 'isc-dhcp-client',
}

/** The client for a source: the one named, else the first that is installed, else that of Docker's busybox image. */
export async function findDhcpProgram(source: AddressSource, guest: Guest, system: System): Promise<DhcpProgram> {
  const missing = ['setpriv', 'nsenter', 'setsid'].find((tool) => !system.hasProgram(tool))
  if (missing !== undefined)
    throw new PipeworkError(`'${missing}' is not installed, and DHCP needs it`, {
      hint: 'Install it: apt install util-linux',
    })
  for (const name of listDhcpPrograms(source)) {
    const command = await findProgramCommand(name, system)
    if (command !== undefined) return { program: name, command }
  }
  if (source.client !== undefined)
    throw new PipeworkError(`'${source.client}' is not installed`, {
      hint: `Install it (apt install ${DHCP_PACKAGES[source.client]}), or write dhcp for whatever there is.`,
    })
  if (source.family === 4 && guest.kind === 'docker' && system.hasProgram('docker'))
    return { program: 'image', command: [] }
  throw new PipeworkError(`there is no DHCP client${source.family === 6 ? ' for IPv6' : ''} on this host`, {
    hint: `Install one: apt install ${source.family === 6 ? 'isc-dhcp-client' : 'udhcpc'}`,
  })
}

/** The quickest first. Options belong to a client: those of dhcp are udhcpc's, as they were in the original. */
function listDhcpPrograms({ client, family, options }: AddressSource): readonly DhcpClient[] {
  if (client !== undefined) return [client]
  if (family === 6) return options.length > 0 ? ['dhclient'] : ['dhclient', 'dhcpcd']
  return options.length > 0 ? ['udhcpc'] : ['udhcpc', 'dhcpcd', 'dhclient']
}

async function findProgramCommand(name: DhcpClient, system: System): Promise<readonly string[] | undefined> {
  if (system.hasProgram(name)) return [name]
  if (name !== 'udhcpc' || !system.hasProgram('busybox')) return undefined
  const { stdout } = await system.run(['busybox', '--list'])
  return /^udhcpc$/m.test(stdout) ? ['busybox', 'udhcpc'] : undefined
}
