import type { Family } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import type { Plan } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'
import type { System } from '../../system/types'
import { type DhcpInputs, findUnchangedClient, planDhcpAfterLink, planDhcpBeforeLink, toLeasedAddress } from './plan'
import { findDhcpProgram } from './programs'
import { findResolvConf } from './resolv-conf'
import { clientDirectory, readClientState } from './state'

const DHCP_FAMILIES: readonly Family[] = [4, 6]

/** A plan with the steps for leases, and the request with what leases gave already. */
interface LeasePlan extends AttachContext {
  readonly plan: Plan
}

/** Where a plan is made. */
interface LeasePlanOptions {
  readonly system: System
  readonly netns: string | undefined
  /** Whether the link is made anew, and no client outlives that. */
  readonly isRecreated: boolean
  /** Plans what is not about leases. */
  planRest(context: AttachContext): Promise<Plan>
}

/**
 * The plan for a link with leases: clients that are not wanted any more end first, those that are wanted start last, and
 * what one that does its work has been given counts among the addresses asked for.
 */
export async function planLeases(
  context: AttachContext,
  { system, netns, isRecreated, planRest }: LeasePlanOptions,
): Promise<LeasePlan> {
  const tenancy = await readDhcpInputs(context, { system, netns })
  const settled = isRecreated
    ? []
    : DHCP_FAMILIES.flatMap((family) => findUnchangedClient(family, context, tenancy) ?? [])
  const leased = settled.flatMap(({ client, lease }) => (lease === undefined ? [] : [toLeasedAddress(client, lease)]))
  const mtu = settled.find(({ lease }) => lease?.mtu !== undefined)?.lease?.mtu
  const request = {
    ...context.request,
    addresses: [...context.request.addresses, ...leased],
    dhcp: { ...context.request.dhcp, ...(mtu === undefined ? {} : { mtu }) },
  }
  const now = { ...context, request }
  return {
    ...now,
    plan: [
      ...planDhcpBeforeLink(context, tenancy, settled),
      ...(await planRest(now)),
      ...planDhcpAfterLink(context, tenancy, settled),
    ],
  }
}

async function readDhcpInputs(
  { request, guest }: AttachContext,
  { system, netns }: Pick<LeasePlanOptions, 'system' | 'netns'>,
): Promise<DhcpInputs> {
  const { ifname, sources, dhcp } = request
  const wanted = sources.filter(({ kind }) => kind === 'dhcp')
  const programs = await Promise.all(
    wanted.map(async (source) => [source.family, await findDhcpProgram(source, guest, system)] as const),
  )
  const resolvConf = dhcp.dns ? await findResolvConf(guest, system) : undefined
  return {
    clientStates: DHCP_FAMILIES.flatMap(
      (family) => readClientState(clientDirectory(guest, ifname, family), system) ?? [],
    ),
    programs: new Map(programs),
    pipeworkArgv: requireAbsoluteSelf(system),
    netnsInode: (netns === undefined ? undefined : system.inode(`/run/netns/${netns}`)) ?? 0,
    machineId: system.read('/etc/machine-id') || system.read('/proc/sys/kernel/random/boot_id') || '',
    // Debian and Ubuntu load the profile; a host without AppArmor has no such file.
    isConfined: /dhclient \(enforce\)/.test(system.read('/sys/kernel/security/apparmor/profiles') ?? ''),
    resolvConf,
  }
}

function requireAbsoluteSelf({ selfCommand: self }: System): readonly string[] {
  const odd = self.find((path) => !path.startsWith('/'))
  if (odd !== undefined) throw new PipeworkError(`pipework cannot tell where it is itself: '${odd}'`)
  return self
}
