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

/** The steps for the leases of a link, and the request with the addresses that it has leased already. */
interface LeasePlan {
  readonly context: AttachContext
  /** Stops clients that are no longer wanted. */
  readonly beforeLink: Plan
  /** Starts clients, and waits for their leases. */
  readonly afterLink: Plan
}

interface LeasePlanOptions {
  readonly system: System
  readonly netns: string | undefined
  /** Whether the link is recreated, which stops its clients. */
  readonly isRecreated: boolean
}

/** Plans the leases of a link around the steps for the link itself. */
export async function planLeases(
  context: AttachContext,
  { system, netns, isRecreated }: LeasePlanOptions,
): Promise<LeasePlan> {
  const inputs = await readDhcpInputs(context, { system, netns })
  const unchanged = isRecreated
    ? []
    : DHCP_FAMILIES.flatMap((family) => findUnchangedClient(family, context, inputs) ?? [])
  const leased = unchanged.flatMap(({ client, lease }) => (lease === undefined ? [] : [toLeasedAddress(client, lease)]))
  const mtu = unchanged.find(({ lease }) => lease?.mtu !== undefined)?.lease?.mtu
  const request = {
    ...context.request,
    addresses: [...context.request.addresses, ...leased],
    dhcp: { ...context.request.dhcp, ...(mtu === undefined ? {} : { mtu }) },
  }
  return {
    context: { ...context, request },
    beforeLink: planDhcpBeforeLink(context, inputs, unchanged),
    afterLink: planDhcpAfterLink(context, inputs, unchanged),
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
