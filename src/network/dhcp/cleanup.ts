import type { Host } from '../../system/types'
import { expiryOf, listTenants, readTenant, type Tenant } from './state'
import { imageName } from './supervisor'

/** What a sweep has ended or forgotten. */
export type Swept = Pick<Tenant['client'], 'guest' | 'ifname' | 'family'>

/**
 * Ends what outlived its guest or its keeper, and forgets leases that have run out. A keeper ends with its guest by
 * itself, within half a second; this is for what was killed, and for whoever cannot wait. Needs root.
 */
export async function sweepClients(host: Host): Promise<readonly Swept[]> {
  if (!host.isRoot) return []
  const swept = await Promise.all(listTenants(host).map((tenant) => sweepAlone(tenant, host)))
  return swept.flat()
}

/** With the lock of an attach: what one is about to start looks like what nobody keeps. */
async function sweepAlone({ directory, client: { netns, ifname } }: Tenant, host: Host): Promise<readonly Swept[]> {
  const unlock = host.lock(`${netns}-${ifname}`)
  if (unlock === undefined) return []
  try {
    const tenant = readTenant(directory, host)
    return tenant === undefined ? [] : await sweep(tenant, host)
  } finally {
    unlock()
  }
}

async function sweep(tenant: Tenant, host: Host): Promise<readonly Swept[]> {
  const { client, directory, lease, isKept } = tenant
  const { guest, ifname, family, program } = client
  if (isKept) {
    const guestPath = /^dir=\S+ guest=(\S+) /m.exec(tenant.files.keep ?? '')?.[1]
    if (guestPath === undefined || host.inode(guestPath) === client.netns) return []
    await host.run(['sh', `${directory}/keep`, '--stop'])
    return [{ guest, ifname, family }]
  }
  // The image's client is a child of Docker's, and does not die with its keeper.
  const isStray = program === 'image' && host.read(`${directory}/pid`) !== undefined
  if (isStray) await host.run(['docker', 'rm', '--force', imageName(directory)])
  if (lease !== undefined && expiryOf(lease) > host.now() / 1000) return []
  if (lease === undefined && host.read(`${directory}/keeper`) === undefined) return []
  await host.run(['rm', '-rf', directory])
  return [{ guest, ifname, family }]
}
