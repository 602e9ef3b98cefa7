import type { Address, Family } from '../../model/address'
import type { AddressSource } from '../../model/address-spec'
import { PipeworkError } from '../../model/errors'
import { fnv1aHash } from '../../model/hash'
import { type Command, guestNetns, ipInGuest, type Plan, planSteps } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import type { AttachContext } from '../../state/attach-facts'
import { currentDefault } from '../default-route'
import { planLinkLocalWait, planSlaac } from './ipv6'
import { explainNoAnswer } from './no-answer'
import type { DhcpProgram } from './programs'
import { isReleasable } from './release'
import { type ClientState, clientDirectory, type DhcpClientSpec, guestKey, type Lease } from './state'
import { type DhcpStartOptions, formatSupervisor, HOOK_SCRIPT } from './supervisor'

/** What is known of a link's clients before the plan. */
export interface DhcpInputs {
  /** Those that have files now, whether they run or not. */
  readonly clientStates: readonly ClientState[]
  /** The program for each family that asks for one. */
  readonly programs: ReadonlyMap<Family, DhcpProgram>
  /** Node and the script. */
  readonly pipeworkArgv: readonly string[]
  /** The inode of the guest's namespace; 0 where it is not known, on a dry run without root. */
  readonly netnsInode: number
  readonly machineId: string
  /** Whether AppArmor confines dhclient. */
  readonly isConfined: boolean
  readonly resolvConf?: string
}

const findDhcpSource = (context: AttachContext, family: Family): AddressSource | undefined =>
  context.request.sources.find((it) => it.kind === 'dhcp' && it.family === family)

/** The client that the request asks for. */
function toClientSpec(source: AddressSource, context: AttachContext, tenancy: DhcpInputs): DhcpClientSpec {
  const { request, guest, facts } = context
  const { kind, name, id } = guest
  const own = { kind, name, id }
  const { family } = source
  const isFirst = !request.addresses.some((it) => it.family === family && it.gateway !== undefined && !it.leased)
  const { metric, dhcp, tag } = request
  return {
    family,
    guest: own,
    ifname: request.ifname,
    hostif: request.hostif,
    tag,
    wish: [source.typed, ...request.words],
    program: tenancy.programs.get(family)?.program ?? 'udhcpc',
    once: dhcp.once,
    defaultRoute: request.defaultRoute && isFirst,
    metric,
    resolvConf: tenancy.resolvConf,
    clientId: toClientId(`${request.ifname} ${guestKey(own)} ${tenancy.machineId}`),
    mac: request.mac === undefined ? (facts.inGuest?.mac ?? facts.mac) : facts.mac,
    netns: tenancy.netnsInode,
  }
}

/** Type 0, which is no hardware address, and eight bytes: of guest, interface and host, so that no restart changes it. */
function toClientId(text: string): string {
  return ['00', ...(fnv1aHash(text).match(/../g) ?? [])].join(':')
}

/** The client that does what the request asks already. */
export function findUnchangedClient(
  family: Family,
  context: AttachContext,
  tenancy: DhcpInputs,
): ClientState | undefined {
  const source = findDhcpSource(context, family)
  const tenant = tenancy.clientStates.find((it) => it.client.family === family)
  if (source === undefined || tenant?.lease === undefined || tenant.isLost) return undefined
  const { clientId, mac, ...wanted } = toClientSpec(source, context, tenancy)
  const { clientId: _, mac: __, ...has } = tenant.client
  const isSame = JSON.stringify(wanted) === JSON.stringify(has)
  const { ip } = tenant.lease
  const isThere = context.facts.inGuest?.addresses.some((it) => it.ip === ip) ?? false
  return isSame && isThere && (tenant.isRunning || has.once) ? tenant : undefined
}

/** What a lease gave, as an address of the request. */
export function toLeasedAddress({ family, defaultRoute }: DhcpClientSpec, { ip, prefix, router }: Lease): Address {
  return { family, ip, prefix, gateway: defaultRoute && router !== undefined ? router : undefined, leased: true }
}

const supervisorPath = ({ directory }: Pick<ClientState, 'directory'>) => `${directory}/keep`
// Docker's client reads of the environment which Docker it is for.
const startCommand = (tenant: Pick<ClientState, 'directory'>, program: DhcpClientSpec['program']): Command => ({
  kind: 'run',
  in: 'host',
  argv: ['sh', supervisorPath(tenant), guestNetns],
  cleanEnv: program === 'image' ? undefined : true,
})
const stopCommand = (tenant: Pick<ClientState, 'directory'>): Command => ({
  kind: 'run',
  in: 'host',
  argv: ['sh', supervisorPath(tenant), '--stop'],
  cleanEnv: true,
})

function fileCommand(directory: string, name: string, text?: string): Command {
  return {
    ...{ kind: 'file', in: 'host', path: `${directory}/${name}` },
    text,
    isExecutable: name === 'hook' ? true : undefined,
  }
}

function restoreFiles({ directory, files }: ClientState): readonly Command[] {
  return Object.entries(files).map(([name, text]) => fileCommand(directory, name, text))
}

function removeDirectory(directory: string): Command {
  return { kind: 'run', in: 'host', argv: ['rm', '-rf', directory] }
}

/** Ends a client that runs. */
export function planClientStop(tenant: ClientState): Plan {
  if (!tenant.isRunning) return []
  return [
    {
      description: `end the DHCP client of ${tenant.client.ifname}`,
      command: stopCommand(tenant),
      undo: startCommand(tenant, tenant.client.program),
    },
  ]
}

/** Gives the address back while the link still has it. */
export function planLeaseRelease(tenant: ClientState, self: readonly string[]): Plan {
  const { client, lease, directory } = tenant
  if (lease === undefined || !isReleasable(tenant)) return []
  return [
    {
      description: `give ${lease.ip} back to the DHCP${client.family === 6 ? 'v6' : ''} server ${lease.server}`,
      command: {
        kind: 'run',
        in: 'guest',
        argv: [...self, '__dhcp', 'release', directory],
      },
    },
  ]
}

/** Away with what a client had in files. */
export function planClientRemoval(tenant: ClientState): Plan {
  const { client, directory } = tenant
  return [
    {
      description: `forget the DHCP client of ${client.ifname}`,
      command: removeDirectory(directory),
      undo: restoreFiles(tenant),
    },
  ]
}

/** What goes before the link and its typed addresses are changed. */
export function planDhcpBeforeLink(context: AttachContext, tenancy: DhcpInputs, settled: readonly ClientState[]): Plan {
  return tenancy.clientStates.flatMap((tenant) => {
    const { family, netns } = tenant.client
    if (settled.includes(tenant)) return []
    const isWanted = findDhcpSource(context, family) !== undefined
    const isHere = netns === tenancy.netnsInode && context.facts.inGuest !== undefined
    return [...planClientStop(tenant), ...(isWanted || !isHere ? [] : planLeaseRelease(tenant, tenancy.pipeworkArgv))]
  })
}

/** What comes last: clients that are to run, and the wait for what they are given. */
export function planDhcpAfterLink(context: AttachContext, tenancy: DhcpInputs, settled: readonly ClientState[]): Plan {
  const surplus = tenancy.clientStates.filter(({ client }) => findDhcpSource(context, client.family) === undefined)
  return planSteps(
    ([4, 6] as const).flatMap((family) => {
      const source = findDhcpSource(context, family)
      if (source === undefined || settled.some(({ client }) => client.family === family)) return []
      return planClientStart(source, context, tenancy)
    }),
    planSlaac(context),
    surplus.flatMap(planClientRemoval),
  )
}

function guestNsPath({ nsPath }: Guest): string {
  return nsPath
}

/** What names the guest to the server: a host name, as far as the guest's own name is one. */
function toDhcpHostname({ kind, name }: Guest): { hostname?: string } {
  const label = name
    .replaceAll(/[^A-Za-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63)
  return kind === 'pid' || label === '' ? {} : { hostname: label }
}

/** Those who share the NIC's MAC address are told apart by the IP address, which the guest has not got yet. */
function needsBroadcast(
  { request: { sharing, hostif }, facts }: AttachContext,
  program: DhcpClientSpec['program'],
): boolean {
  if (sharing.kind !== 'ipvlan') return facts.hostif?.kind === 'infiniband'
  if (sharing.mode !== 'l2')
    throw new PipeworkError(
      `an ipvlan in mode ${sharing.mode} on '${hostif}' hears no broadcast, and DHCP needs that`,
      {
        hint: 'Leave --mode out, which means l2, or give an address.',
      },
    )
  if (program === 'dhclient')
    throw new PipeworkError(
      `dhclient does not ask for answers by broadcast, and an ipvlan on '${hostif}' hears no other`,
      {
        hint: 'Use another client: apt install udhcpc, and dhcp in the place of the address.',
      },
    )
  return true
}

function planClientStart(source: AddressSource, context: AttachContext, tenancy: DhcpInputs): Plan {
  const { request, guest, facts } = context
  const { family } = source
  const { ifname, dhcp } = request
  const directory = clientDirectory(guest, ifname, family)
  const tenant = tenancy.clientStates.find((it) => it.directory === directory)
  const client = toClientSpec(source, context, tenancy)
  const { program, command = [] } = tenancy.programs.get(family) ?? { program: client.program }
  const start = {
    ...{ directory, ifname, family, program, command, options: source.options, nsPath: guestNsPath(guest) },
    hostEnd: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName,
    ...toDhcpHostname(guest),
    ...{ clientId: client.clientId, self: tenancy.pipeworkArgv, limit: dhcp.timeout },
    confined: tenancy.isConfined,
    broadcast: family === 4 && needsBroadcast(context, program),
    container: guest.id,
  }
  const file = (name: string, text?: string) => fileCommand(directory, name, text)
  const named = program === 'image' ? 'udhcpc of the busybox image, as no client is installed' : program
  return planSteps(
    family === 6 && [planLinkLocalWait(ifname)],
    {
      description: `write down that ${named} asks for an address for ${ifname}`,
      command: file('client', JSON.stringify(client)),
      undo: tenant === undefined ? removeDirectory(directory) : restoreFiles(tenant),
    },
    { description: `write down how ${named} is started`, command: file('keep', formatSupervisor(start)) },
    { description: `write down what ${named} calls with its news`, command: file('hook', HOOK_SCRIPT) },
    program === 'dhclient' && {
      description: 'write down what dhclient asks for',
      command: file('dhclient.conf', formatDhclientConf(start)),
    },
    program === 'dhcpcd' &&
      family === 6 && {
        description: 'write down what dhcpcd asks for',
        command: file('dhcpcd.conf', 'noipv6rs\nia_na 1'),
      },
    tenant?.files.lease !== undefined && { description: 'forget the earlier lease', command: file('lease') },
    {
      description: `start ${named}, and what keeps it`,
      command: startCommand({ directory }, program),
      undo: stopCommand({ directory }),
    },
    {
      description: `wait up to ${dhcp.timeout} s for an address by DHCP${family === 6 ? 'v6' : ''}`,
      command: {
        kind: 'lease',
        in: 'host',
        argv: [...tenancy.pipeworkArgv, '__dhcp', 'await', directory, `${dhcp.timeout}`],
      },
      undo: [
        { kind: 'lease', in: 'host', argv: [...tenancy.pipeworkArgv, '__dhcp', 'drop', directory] },
        ...restoreDefaultRoute(context),
      ],
      explainFailure: (result) => explainNoAnswer(result, `'${request.hostif}' within ${dhcp.timeout} s`),
    },
    dhcp.once && { description: `end ${named}: nobody renews the lease`, command: stopCommand({ directory }) },
  )
}

/** The default route that the server's router takes the place of. */
function restoreDefaultRoute(context: AttachContext): readonly Command[] {
  const live = currentDefault(4, context)
  // Of a link that is new, the routes of others are as they were once that is gone; they may lead over it else.
  return live === undefined || live.dev === context.request.ifname
    ? []
    : [ipInGuest`route replace default ${live.words}`]
}

function formatDhclientConf({ hostname, clientId }: Pick<DhcpStartOptions, 'hostname' | 'clientId'>): string {
  return [
    'option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;',
    'request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, interface-mtu, rfc3442-classless-static-routes, dhcp6.name-servers;',
    `send dhcp-client-identifier ${clientId};`,
    ...(hostname === undefined ? [] : [`send host-name "${hostname}";`]),
    'initial-interval 1; backoff-cutoff 8; retry 5; select-timeout 0; reboot 2;',
  ].join('\n')
}
