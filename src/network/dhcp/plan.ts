import { liveDefault } from '../../drivers/claim'
import type { Context } from '../../drivers/types'
import { type Address, type Family, fingerprint } from '../../model/address'
import type { AddressSource } from '../../model/address-sources'
import { PipeworkError } from '../../model/errors'
import { type Command, guestNetns, ipInGuest, type Plan, rows } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { planSlaac, waitForLinkLocal } from './ipv6'
import { explainSilence } from './no-answer'
import type { Program } from './programs'
import { isReleasable } from './release'
import { type Client, directoryOf, type Lease, type Tenant, whoIs } from './state'
import { HOOK_TEXT, type Start, toKeeper } from './supervisor'

/** What is known of a link's clients before the plan. */
export interface Tenancy {
  /** Those that have files now, whether they run or not. */
  readonly tenants: readonly Tenant[]
  /** The program for each family that asks for one. */
  readonly programs: ReadonlyMap<Family, Program>
  /** Node and the script. */
  readonly self: readonly string[]
  /** The inode of the guest's namespace; 0 where it is not known, on a dry run without root. */
  readonly netns: number
  readonly machine: string
  /** Whether AppArmor confines dhclient. */
  readonly confined: boolean
  readonly resolvConf?: string
}

const dhcpOf = (context: Context, family: Family): AddressSource | undefined =>
  context.request.sources.find((it) => it.kind === 'dhcp' && it.family === family)

/** The client that the request asks for. */
function toClient(source: AddressSource, context: Context, tenancy: Tenancy): Client {
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
    wish: [source.word, ...request.words],
    program: tenancy.programs.get(family)?.program ?? 'udhcpc',
    once: dhcp.once,
    defaultRoute: request.defaultRoute && isFirst,
    metric,
    resolvConf: tenancy.resolvConf,
    clientId: idOf(`${request.ifname} ${whoIs(own)} ${tenancy.machine}`),
    mac: request.mac === undefined ? (facts.inGuest?.mac ?? facts.mac) : facts.mac,
    netns: tenancy.netns,
  }
}

/** Type 0, which is no hardware address, and eight bytes: of guest, interface and host, so that no restart changes it. */
function idOf(text: string): string {
  return ['00', ...(fingerprint(text).match(/../g) ?? [])].join(':')
}

/** The client that does what the request asks already. */
export function findSettled(family: Family, context: Context, tenancy: Tenancy): Tenant | undefined {
  const source = dhcpOf(context, family)
  const tenant = tenancy.tenants.find((it) => it.client.family === family)
  if (source === undefined || tenant?.lease === undefined || tenant.isLost) return undefined
  const { clientId, mac, ...wanted } = toClient(source, context, tenancy)
  const { clientId: _, mac: __, ...has } = tenant.client
  const isSame = JSON.stringify(wanted) === JSON.stringify(has)
  const { ip } = tenant.lease
  const isThere = context.facts.inGuest?.addresses.some((it) => it.ip === ip) ?? false
  return isSame && isThere && (tenant.isKept || has.once) ? tenant : undefined
}

/** What a lease gave, as an address of the request. */
export function toLeased({ family, defaultRoute }: Client, { ip, prefix, router }: Lease): Address {
  return { family, ip, prefix, gateway: defaultRoute && router !== undefined ? router : undefined, leased: true }
}

const keep = ({ directory }: Pick<Tenant, 'directory'>) => `${directory}/keep`
// Docker's client reads of the environment which Docker it is for.
const starting = (tenant: Pick<Tenant, 'directory'>, program: Client['program']): Command => ({
  kind: 'run',
  in: 'host',
  argv: ['sh', keep(tenant), guestNetns],
  isOurs: program === 'image' ? undefined : true,
})
const ending = (tenant: Pick<Tenant, 'directory'>): Command => ({
  kind: 'run',
  in: 'host',
  argv: ['sh', keep(tenant), '--stop'],
  isOurs: true,
})

function fileOf(directory: string, name: string, text?: string): Command {
  return {
    ...{ kind: 'file', in: 'host', path: `${directory}/${name}` },
    text,
    isProgram: name === 'hook' ? true : undefined,
  }
}

function restoreFiles({ directory, files }: Tenant): readonly Command[] {
  return Object.entries(files).map(([name, text]) => fileOf(directory, name, text))
}

function removal(directory: string): Command {
  return { kind: 'run', in: 'host', argv: ['rm', '-rf', directory] }
}

/** Ends a client that runs. */
export function planEnd(tenant: Tenant): Plan {
  if (!tenant.isKept) return []
  return [
    {
      why: `end the DHCP client of ${tenant.client.ifname}`,
      command: ending(tenant),
      undo: starting(tenant, tenant.client.program),
    },
  ]
}

/** Gives the address back while the link still has it. */
export function planRelease(tenant: Tenant, self: readonly string[]): Plan {
  const { client, lease, directory } = tenant
  if (lease === undefined || !isReleasable(tenant)) return []
  return [
    {
      why: `give ${lease.ip} back to the DHCP${client.family === 6 ? 'v6' : ''} server ${lease.server}`,
      command: {
        kind: 'run',
        in: 'guest',
        argv: [...self, '__dhcp', 'release', directory],
      },
    },
  ]
}

/** Away with what a client had in files. */
export function planForget(tenant: Tenant): Plan {
  const { client, directory } = tenant
  return [
    {
      why: `forget the DHCP client of ${client.ifname}`,
      command: removal(directory),
      undo: restoreFiles(tenant),
    },
  ]
}

/** What goes before the link and its typed addresses are changed. */
export function planBefore(context: Context, tenancy: Tenancy, settled: readonly Tenant[]): Plan {
  return tenancy.tenants.flatMap((tenant) => {
    const { family, netns } = tenant.client
    if (settled.includes(tenant)) return []
    const isWanted = dhcpOf(context, family) !== undefined
    const isHere = netns === tenancy.netns && context.facts.inGuest !== undefined
    return [...planEnd(tenant), ...(isWanted || !isHere ? [] : planRelease(tenant, tenancy.self))]
  })
}

/** What comes last: clients that are to run, and the wait for what they are given. */
export function planAfter(context: Context, tenancy: Tenancy, settled: readonly Tenant[]): Plan {
  const surplus = tenancy.tenants.filter(({ client }) => dhcpOf(context, client.family) === undefined)
  return rows(
    ([4, 6] as const).flatMap((family) => {
      const source = dhcpOf(context, family)
      if (source === undefined || settled.some(({ client }) => client.family === family)) return []
      return planClient(source, context, tenancy)
    }),
    planSlaac(context),
    surplus.flatMap(planForget),
  )
}

function nsPathOf({ nsPath }: Guest): string {
  return nsPath
}

/** What names the guest to the server: a host name, as far as the guest's own name is one. */
function hostnameOf({ kind, name }: Guest): { hostname?: string } {
  const label = name
    .replaceAll(/[^A-Za-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63)
  return kind === 'pid' || label === '' ? {} : { hostname: label }
}

/** Those who share the NIC's MAC address are told apart by the IP address, which the guest has not got yet. */
function needsBroadcast({ request: { sharing, hostif }, facts }: Context, program: Client['program']): boolean {
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

function planClient(source: AddressSource, context: Context, tenancy: Tenancy): Plan {
  const { request, guest, facts } = context
  const { family } = source
  const { ifname, dhcp } = request
  const directory = directoryOf(guest, ifname, family)
  const tenant = tenancy.tenants.find((it) => it.directory === directory)
  const client = toClient(source, context, tenancy)
  const { program, command = [] } = tenancy.programs.get(family) ?? { program: client.program }
  const start = {
    ...{ directory, ifname, family, program, command, options: source.options, nsPath: nsPathOf(guest) },
    hostEnd: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName,
    ...hostnameOf(guest),
    ...{ clientId: client.clientId, self: tenancy.self, limit: dhcp.timeout },
    confined: tenancy.confined,
    broadcast: family === 4 && needsBroadcast(context, program),
    container: guest.id,
  }
  const file = (name: string, text?: string) => fileOf(directory, name, text)
  const named = program === 'image' ? 'udhcpc of the busybox image, as no client is installed' : program
  return rows(
    family === 6 && [waitForLinkLocal(ifname)],
    {
      why: `write down that ${named} asks for an address for ${ifname}`,
      command: file('client', JSON.stringify(client)),
      undo: tenant === undefined ? removal(directory) : restoreFiles(tenant),
    },
    { why: `write down how ${named} is started`, command: file('keep', toKeeper(start)) },
    { why: `write down what ${named} calls with its news`, command: file('hook', HOOK_TEXT) },
    program === 'dhclient' && {
      why: 'write down what dhclient asks for',
      command: file('dhclient.conf', toDhclientConf(start)),
    },
    program === 'dhcpcd' &&
      family === 6 && { why: 'write down what dhcpcd asks for', command: file('dhcpcd.conf', 'noipv6rs\nia_na 1') },
    tenant?.files.lease !== undefined && { why: 'forget the earlier lease', command: file('lease') },
    {
      why: `start ${named}, and what keeps it`,
      command: starting({ directory }, program),
      undo: ending({ directory }),
    },
    {
      why: `wait up to ${dhcp.timeout} s for an address by DHCP${family === 6 ? 'v6' : ''}`,
      command: { kind: 'lease', in: 'host', argv: [...tenancy.self, '__dhcp', 'await', directory, `${dhcp.timeout}`] },
      undo: [
        { kind: 'lease', in: 'host', argv: [...tenancy.self, '__dhcp', 'drop', directory] },
        ...restoreDefault(context),
      ],
      explain: (result) => explainSilence(result, `'${request.hostif}' within ${dhcp.timeout} s`),
    },
    dhcp.once && { why: `end ${named}: nobody renews the lease`, command: ending({ directory }) },
  )
}

/** The default route that the server's router takes the place of. */
function restoreDefault(context: Context): readonly Command[] {
  const live = liveDefault(4, context)
  // Of a link that is new, the routes of others are as they were once that is gone; they may lead over it else.
  return live === undefined || live.dev === context.request.ifname
    ? []
    : [ipInGuest`route replace default ${live.words}`]
}

function toDhclientConf({ hostname, clientId }: Pick<Start, 'hostname' | 'clientId'>): string {
  return [
    'option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;',
    'request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, interface-mtu, rfc3442-classless-static-routes, dhcp6.name-servers;',
    `send dhcp-client-identifier ${clientId};`,
    ...(hostname === undefined ? [] : [`send host-name "${hostname}";`]),
    'initial-interval 1; backoff-cutoff 8; retry 5; select-timeout 0; reboot 2;',
  ].join('\n')
}
