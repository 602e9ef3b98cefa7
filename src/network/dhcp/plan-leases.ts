import type { Context } from '../../drivers/types'
import type { Family } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import type { Plan } from '../../plan/step'
import type { Host } from '../../system/types'
import { findSettled, planAfter, planBefore, type Tenancy, toLeased } from './plan'
import { findProgram } from './programs'
import { findResolvConf } from './resolv-conf'
import { directoryOf, readTenant } from './state'

const FAMILIES: readonly Family[] = [4, 6]

/** A plan with the steps for leases, and the request with what leases gave already. */
interface Leased extends Context {
  readonly plan: Plan
}

/** Where a plan is made. */
interface Surroundings {
  readonly host: Host
  readonly netns: string | undefined
  /** Whether the link is made anew, and no client outlives that. */
  readonly isRemade: boolean
  /** Plans what is not about leases. */
  planRest(context: Context): Promise<Plan>
}

/**
 * The plan for a link with leases: clients that are not wanted any more end first, those that are wanted start last, and
 * what one that does its work has been given counts among the addresses asked for.
 */
export async function foreseeLeases(
  context: Context,
  { host, netns, isRemade, planRest }: Surroundings,
): Promise<Leased> {
  const tenancy = await gather(context, { host, netns })
  const settled = isRemade ? [] : FAMILIES.flatMap((family) => findSettled(family, context, tenancy) ?? [])
  const leased = settled.flatMap(({ client, lease }) => (lease === undefined ? [] : [toLeased(client, lease)]))
  const mtu = settled.find(({ lease }) => lease?.mtu !== undefined)?.lease?.mtu
  const request = {
    ...context.request,
    addresses: [...context.request.addresses, ...leased],
    dhcp: { ...context.request.dhcp, ...(mtu === undefined ? {} : { mtu }) },
  }
  const now = { ...context, request }
  return {
    ...now,
    plan: [...planBefore(context, tenancy, settled), ...(await planRest(now)), ...planAfter(context, tenancy, settled)],
  }
}

async function gather(
  { request, guest }: Context,
  { host, netns }: Pick<Surroundings, 'host' | 'netns'>,
): Promise<Tenancy> {
  const { ifname, sources, dhcp } = request
  const wanted = sources.filter(({ kind }) => kind === 'dhcp')
  const programs = await Promise.all(
    wanted.map(async (source) => [source.family, await findProgram(source, guest, host)] as const),
  )
  const resolvConf = dhcp.dns ? await findResolvConf(guest, host) : undefined
  return {
    tenants: FAMILIES.flatMap((family) => readTenant(directoryOf(guest, ifname, family), host) ?? []),
    programs: new Map(programs),
    self: selfOf(host),
    netns: (netns === undefined ? undefined : host.inode(`/run/netns/${netns}`)) ?? 0,
    machine: host.read('/etc/machine-id') || host.read('/proc/sys/kernel/random/boot_id') || '',
    // Debian and Ubuntu load the profile; a host without AppArmor has no such file.
    confined: /dhclient \(enforce\)/.test(host.read('/sys/kernel/security/apparmor/profiles') ?? ''),
    resolvConf,
  }
}

function selfOf({ program: self }: Host): readonly string[] {
  const odd = self.find((path) => !path.startsWith('/'))
  if (odd !== undefined) throw new PipeworkError(`pipework cannot tell where it is itself: '${odd}'`)
  return self
}
