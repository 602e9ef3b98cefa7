import type { AddressSource } from '../../model/address-spec'
import type { DhcpClient } from '../../model/dhcp-options'
import { PipeworkError } from '../../model/errors'
import type { Guest } from '../../runtimes/find'
import type { System } from '../../system/types'
import { DHCP_CLIENT_TABLE, type DhcpProgramName } from './clients'

/** An installed client. */
export interface DhcpProgram {
  readonly program: DhcpProgramName
  /** The words that start it. */
  readonly command: readonly string[]
}

/** The client for a source: the named one, else the first that is installed, else the busybox image of Docker. */
export async function findDhcpProgram(source: AddressSource, guest: Guest, system: System): Promise<DhcpProgram> {
  const missing = ['setpriv', 'nsenter', 'setsid'].find((tool) => !system.hasProgram(tool))
  if (missing !== undefined)
    throw new PipeworkError(`'${missing}' is not installed, but DHCP needs it`, {
      hint: 'Install it: apt install util-linux',
    })
  for (const name of listDhcpPrograms(source)) {
    const command = await findProgramCommand(name, system)
    if (command !== undefined) return { program: name, command }
  }
  if (source.client !== undefined)
    throw new PipeworkError(`'${source.client}' is not installed`, {
      hint: `Install it (apt install ${DHCP_CLIENT_TABLE[source.client].package}), or write dhcp to use any installed client.`,
    })
  if (source.family === 4 && guest.kind === 'docker' && system.hasProgram('docker'))
    return { program: 'image', command: [] }
  throw new PipeworkError(`no DHCP client${source.family === 6 ? ' for IPv6' : ''} is installed`, {
    hint: `Install one: apt install ${source.family === 6 ? 'isc-dhcp-client' : 'udhcpc'}`,
  })
}

/** The fastest first. The options of `dhcp` are udhcpc's, as in the original. */
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
