import { isDeepStrictEqual } from 'node:util'
import { ADDRESS_FAMILIES, type Address, type Family } from '../../model/address'
import type { AddressSource } from '../../model/address-spec'
import { PipeworkError } from '../../model/errors'
import { fnv1aHash } from '../../model/hash'
import { type Command, ipInGuest, type Plan, planSteps } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import type { AttachContext } from '../../state/attach-facts'
import type { System } from '../../system/types'
import { currentDefault } from '../default-route'
import { type ClientOptions, DHCP_CLIENT_TABLE, type DhcpProgramName } from './clients'
import { planLinkLocalWait, planSlaac } from './ipv6'
import { explainNoAnswer } from './no-answer'
import { type DhcpProgram, findDhcpProgram } from './programs'
import { findResolvConf } from './resolv-conf'
import { type ClientState, clientDirectory, type DhcpClientSpec, guestKey, type Lease, readClientState } from './state'
import {
  clientFileCommand,
  formatSupervisorArguments,
  planClientRemoval,
  planClientStop,
  planLeaseRelease,
  removeClientDirectory,
  restoreClientFiles,
  startSupervisorCommand,
  stopSupervisorCommand,
  supervisorFiles,
} from './supervisor'

/** The facts that a plan needs about a link's DHCP clients. */
interface DhcpInputs {
  /** Clients that have files now, running or not. */
  readonly clientStates: readonly ClientState[]
  /** The program for each requested family. */
  readonly programs: ReadonlyMap<Family, DhcpProgram>
  /** Node and the script. */
  readonly pipeworkArgv: readonly string[]
  /** The inode of the guest's namespace; 0 when unknown, in a dry run without root. */
  readonly netnsInode: number
  readonly machineId: string
  /** Whether AppArmor confines dhclient. */
  readonly isConfined: boolean
  readonly resolvConf?: string
}

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
export async function planLeases(context: AttachContext, options: LeasePlanOptions): Promise<LeasePlan> {
  const inputs = await readDhcpInputs(context, options)
  const unchanged = options.isRecreated
    ? []
    : ADDRESS_FAMILIES.flatMap((family) => findUnchangedClient(family, context, inputs) ?? [])
  const leased = unchanged.flatMap(({ client, lease }) => (lease === undefined ? [] : [toLeasedAddress(client, lease)]))
  const mtu = unchanged.find(({ lease }) => lease?.mtu !== undefined)?.lease?.mtu
  const { addresses, dhcp } = context.request
  const request = { ...context.request, addresses: [...addresses, ...leased], dhcp: { ...dhcp, mtu: mtu ?? dhcp.mtu } }
  return {
    context: { ...context, request },
    beforeLink: planBeforeLink(context, inputs, unchanged),
    afterLink: planAfterLink(context, inputs, unchanged),
  }
}

async function readDhcpInputs(
  { request, guest }: AttachContext,
  { system, netns }: Pick<LeasePlanOptions, 'system' | 'netns'>,
): Promise<DhcpInputs> {
  const { ifname, sources, dhcp } = request
  const programs = await Promise.all(
    sources
      .filter(({ kind }) => kind === 'dhcp')
      .map(async (source) => [source.family, await findDhcpProgram(source, guest, system)] as const),
  )
  return {
    clientStates: ADDRESS_FAMILIES.flatMap(
      (family) => readClientState(clientDirectory(guest, ifname, family), system) ?? [],
    ),
    programs: new Map(programs),
    pipeworkArgv: requireAbsolutePaths(system),
    netnsInode: (netns === undefined ? undefined : system.inode(`/run/netns/${netns}`)) ?? 0,
    machineId: system.read('/etc/machine-id') || system.read('/proc/sys/kernel/random/boot_id') || '',
    // Debian and Ubuntu load the profile; a host without AppArmor has no such file.
    isConfined: /dhclient \(enforce\)/.test(system.read('/sys/kernel/security/apparmor/profiles') ?? ''),
    resolvConf: dhcp.dns ? await findResolvConf(guest, system) : undefined,
  }
}

function requireAbsolutePaths({ selfCommand }: System): readonly string[] {
  const relative = selfCommand.find((path) => !path.startsWith('/'))
  if (relative !== undefined) throw new PipeworkError(`pipework cannot find its own path: '${relative}' is relative`)
  return selfCommand
}

const findDhcpSource = ({ request }: AttachContext, family: Family): AddressSource | undefined =>
  request.sources.find((it) => it.kind === 'dhcp' && it.family === family)

function toClientSpec(source: AddressSource, context: AttachContext, inputs: DhcpInputs): DhcpClientSpec {
  const { request, guest, facts } = context
  const { family } = source
  const hasTypedGateway = request.addresses.some((it) => it.family === family && it.gateway !== undefined && !it.leased)
  const guestRef = { kind: guest.kind, name: guest.name, id: guest.id }
  return {
    family,
    guest: guestRef,
    ifname: request.ifname,
    hostif: request.hostif,
    tag: request.tag,
    words: [source.typed, ...request.words],
    program: inputs.programs.get(family)?.program ?? 'udhcpc',
    once: request.dhcp.once,
    defaultRoute: request.defaultRoute && !hasTypedGateway,
    metric: request.metric,
    resolvConf: inputs.resolvConf,
    clientId: toClientId(`${request.ifname} ${guestKey(guestRef)} ${inputs.machineId}`),
    mac: request.mac === undefined ? (facts.inGuest?.mac ?? facts.mac) : facts.mac,
    netns: inputs.netnsInode,
  }
}

/** Type 0 (not a hardware address) and eight bytes: the same after a restart of the guest. */
function toClientId(text: string): string {
  return ['00', ...(fnv1aHash(text).match(/../g) ?? [])].join(':')
}

/** The running client that already does what the request asks for. */
function findUnchangedClient(family: Family, context: AttachContext, inputs: DhcpInputs): ClientState | undefined {
  const source = findDhcpSource(context, family)
  const state = inputs.clientStates.find((it) => it.client.family === family)
  if (source === undefined || state?.lease === undefined || state.isLost) return undefined
  const { clientId, mac, ...wanted } = toClientSpec(source, context, inputs)
  const { clientId: _, mac: __, ...current } = state.client
  const isSame = isDeepStrictEqual(JSON.parse(JSON.stringify(wanted)), current)
  const { ip } = state.lease
  const hasAddress = context.facts.inGuest?.addresses.some((it) => it.ip === ip) ?? false
  return isSame && hasAddress && (state.isRunning || current.once) ? state : undefined
}

function toLeasedAddress({ family, defaultRoute }: DhcpClientSpec, { ip, prefix, router }: Lease): Address {
  return { family, ip, prefix, gateway: defaultRoute && router !== undefined ? router : undefined, leased: true }
}

/** The steps before the link and its typed addresses change. */
function planBeforeLink(context: AttachContext, inputs: DhcpInputs, unchanged: readonly ClientState[]): Plan {
  return inputs.clientStates.flatMap((state) => {
    const { family, netns } = state.client
    if (unchanged.includes(state)) return []
    const isWanted = findDhcpSource(context, family) !== undefined
    const isHere = netns === inputs.netnsInode && context.facts.inGuest !== undefined
    return [...planClientStop(state), ...(isWanted || !isHere ? [] : planLeaseRelease(state, inputs.pipeworkArgv))]
  })
}

/** The last steps: start the clients and wait for their leases. */
function planAfterLink(context: AttachContext, inputs: DhcpInputs, unchanged: readonly ClientState[]): Plan {
  const surplus = inputs.clientStates.filter(({ client }) => findDhcpSource(context, client.family) === undefined)
  return planSteps(
    ADDRESS_FAMILIES.flatMap((family) => {
      const source = findDhcpSource(context, family)
      if (source === undefined || unchanged.some(({ client }) => client.family === family)) return []
      return planClientStart(source, context, inputs)
    }),
    planSlaac(context),
    surplus.flatMap(planClientRemoval),
  )
}

/** The guest's name as a host name for the server, where it can be one. */
function toDhcpHostname({ kind, name }: Guest): string | undefined {
  const label = name
    .replaceAll(/[^A-Za-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63)
  return kind === 'pid' || label === '' ? undefined : label
}

/** An ipvlan shares the MAC address of its NIC, and the guest has no IP address yet: only a broadcast reaches it. */
function needsBroadcast({ request: { sharing, hostif }, facts }: AttachContext, program: DhcpProgramName): boolean {
  if (sharing.kind !== 'ipvlan') return facts.hostif?.kind === 'infiniband'
  if (sharing.mode !== 'l2')
    throw new PipeworkError(
      `an ipvlan in mode ${sharing.mode} on '${hostif}' gets no broadcasts, but DHCP needs them`,
      {
        hint: 'Leave --mode out (the default is l2), or give an address.',
      },
    )
  if (program === 'dhclient')
    throw new PipeworkError(`an ipvlan on '${hostif}' needs broadcast answers, which dhclient does not request`, {
      hint: 'Use another client: apt install udhcpc, and write dhcp instead of dhclient.',
    })
  return true
}

function toClientOptions(source: AddressSource, context: AttachContext, inputs: DhcpInputs): ClientOptions {
  const { request, guest } = context
  const { family } = source
  const { program, clientId } = toClientSpec(source, context, inputs)
  return {
    directory: clientDirectory(guest, request.ifname, family),
    ifname: request.ifname,
    family,
    command: inputs.programs.get(family)?.command ?? [],
    options: source.options,
    hostname: toDhcpHostname(guest),
    clientId,
    broadcast: family === 4 && needsBroadcast(context, program),
    confined: inputs.isConfined,
    container: guest.id,
  }
}

/** The arguments of the supervisor, and the files of the client. */
function planClientFiles(source: AddressSource, context: AttachContext, inputs: DhcpInputs) {
  const { request, guest, facts } = context
  const client = toClientSpec(source, context, inputs)
  const options = toClientOptions(source, context, inputs)
  const description = DHCP_CLIENT_TABLE[client.program]
  const args = formatSupervisorArguments({
    guestPath: guest.nsPath,
    ifname: request.ifname,
    hostEnd: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName,
    program: client.program,
    // The client stops a little after the wait for it has ended.
    limit: request.dhcp.timeout + 30,
    pipeworkArgv: inputs.pipeworkArgv,
    clientArgv: description.argv(options),
  })
  return { client, args, files: [...supervisorFiles(args), ...description.files(options)] }
}

function planClientStart(source: AddressSource, context: AttachContext, inputs: DhcpInputs): Plan {
  const { request, guest } = context
  const { family } = source
  const { ifname, dhcp, hostif } = request
  const directory = clientDirectory(guest, ifname, family)
  const previous = inputs.clientStates.find((it) => it.directory === directory)
  const { client, args, files } = planClientFiles(source, context, inputs)
  const { title } = DHCP_CLIENT_TABLE[client.program]
  const leaseCommand = (...words: readonly string[]): Command => ({
    ...{ kind: 'lease', in: 'host' },
    argv: [...inputs.pipeworkArgv, '__dhcp', ...words],
  })
  return planSteps(
    family === 6 && [planLinkLocalWait(ifname)],
    {
      description: `record the DHCP client of ${ifname}: ${title}`,
      command: clientFileCommand(directory, { name: 'client', text: JSON.stringify(client) }),
      undo: previous === undefined ? removeClientDirectory({ directory }) : restoreClientFiles(previous),
    },
    files.map((file) => ({
      description: `write ${file.name} of the DHCP client`,
      command: clientFileCommand(directory, file),
    })),
    previous?.files.lease !== undefined && {
      description: 'remove the previous lease',
      command: clientFileCommand(directory, { name: 'lease' }),
    },
    {
      description: `start ${title} and its supervisor`,
      command: startSupervisorCommand({ directory }, client.program, args),
      undo: stopSupervisorCommand({ directory }),
    },
    {
      description: `wait up to ${dhcp.timeout} s for an address by DHCP${family === 6 ? 'v6' : ''}`,
      command: leaseCommand('await', directory, `${dhcp.timeout}`),
      undo: [leaseCommand('drop', directory), ...restoreDefaultRoute(context)],
      explainFailure: (result) => explainNoAnswer(result, `'${hostif}' within ${dhcp.timeout} s`),
    },
    dhcp.once && {
      description: `stop ${title}: the lease is not renewed`,
      command: stopSupervisorCommand({ directory }),
    },
  )
}

/** Restores the default route that the server's router replaces. */
function restoreDefaultRoute(context: AttachContext): readonly Command[] {
  const current = currentDefault(4, context)
  return current === undefined || current.dev === context.request.ifname
    ? []
    : [ipInGuest`route replace default ${current.words}`]
}
