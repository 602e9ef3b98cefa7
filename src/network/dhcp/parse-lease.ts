import { type Family, parseAddress, parsePrefixLength, toCanonicalIp, toNetworkCidr } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import type { Lease, LeasedRoute } from './state'

/** The environment of a client's hook. */
type HookVariables = Readonly<Record<string, string>>

/** The meaning of an event for the link; `none` changes nothing. */
export type LeaseEvent = { readonly kind: 'leased'; readonly lease: Lease } | { readonly kind: 'lost' | 'none' }

const BOUND_EVENTS = /^(bound|renew|BOUND|RENEW|REBIND|REBOOT|INFORM)6?$/
const LOST_EVENTS = /^(nak|NAK|EXPIRE|FAIL|TIMEOUT|EXPIRE6|TIMEDOUT)$/

/** An infinite lease (RFC 2131). */
const INFINITE_LEASE = 0xffffffff

/** NAME=VALUE separated by zero bytes: a newline in a value could imitate another variable. */
function parseHookVariables(text: string): HookVariables {
  const entries = text.split('\0').map((entry) => {
    const at = entry.indexOf('=')
    return [entry.slice(0, at), entry.slice(at + 1)]
  })
  return Object.fromEntries(entries)
}

/**
 * Parses the file of a hook. Anybody on the LAN can answer as a DHCP server, so every value is validated; an invalid
 * address is an error, other invalid values are ignored.
 */
export function parseLeaseEvent(text: string, now: number): LeaseEvent {
  const event = parseHookVariables(text)
  const { event: name = '' } = event
  if (LOST_EVENTS.test(name)) return { kind: 'lost' }
  if (!BOUND_EVENTS.test(name)) return { kind: 'none' }
  return { kind: 'leased', lease: name.endsWith('6') ? parseLease6(event, now) : parseLease4(event, now) }
}

const splitWords = (text: string | undefined) => text?.split(/[\s,]+/).filter(Boolean) ?? []

function parseLeaseTime(text: string | undefined): { seconds?: number } {
  const seconds = /^\d{1,10}$/.test(text ?? '') ? Number(text) : Number.NaN
  if (!(seconds > 0)) throw new PipeworkError(`the DHCP server gives a lease of '${text ?? ''}' seconds`)
  return seconds >= INFINITE_LEASE ? {} : { seconds }
}

function parseLease4(event: HookVariables, since: number): Lease {
  const ip = event.ip ?? event.new_ip_address ?? ''
  const mask = event.subnet ?? event.new_subnet_mask ?? event.new_subnet_cidr ?? event.mask
  const { prefix } = validateLeaseAddress(ip, parsePrefixLength(mask ?? classfulPrefix(ip), 4), 4)
  const classless = parseClasslessRoutes(event)
  const [router] = splitWords(event.router ?? event.new_routers).flatMap((it) => parseRouter(it, ip))
  const byRoute = classless?.find(({ dst }) => dst === '0.0.0.0/0')?.via
  const gateway = classless === undefined ? router : byRoute
  return {
    ip,
    prefix,
    router: gateway,
    routes: classless?.filter(({ dst }) => dst !== '0.0.0.0/0') ?? [],
    server: toCanonicalIp(event.serverid ?? event.new_dhcp_server_identifier ?? '', 4) ?? '',
    ...parseLeaseTime(event.lease ?? event.new_dhcp_lease_time),
    since,
    ...parseLeaseMtu(event.mtu ?? event.new_interface_mtu),
    ...parseDomain(event.domain ?? event.new_domain_name),
    dns: splitWords(event.dns ?? event.new_domain_name_servers).flatMap((it) => toCanonicalIp(it, 4) ?? []),
  }
}

/** DHCPv6 assigns no subnet and no default route: these come from router advertisements. */
function parseLease6(event: HookVariables, since: number): Lease {
  const typed = event.new_ip6_address ?? event.new_dhcp6_ia_na1_ia_addr1 ?? ''
  const ip = toCanonicalIp(typed, 6) ?? typed
  validateLeaseAddress(ip, 128, 6)
  return {
    ip,
    prefix: 128,
    routes: [],
    server: normalizeHex(event.new_dhcp6_server_id) ?? '',
    ...parseLeaseTime(event.new_max_life ?? event.new_dhcp6_ia_na1_ia_addr1_vltime),
    since,
    dns: splitWords(event.new_dhcp6_name_servers).flatMap((it) => toCanonicalIp(it, 6) ?? []),
    ...parseIdentity(event),
  }
}

function parseIdentity(event: HookVariables): Pick<Lease, 'identity'> {
  const duid = normalizeHex(event.new_dhcp6_client_id)
  const iaid = normalizeHex(event.new_iaid ?? event.new_dhcp6_ia_na1_iaid)
  return duid === undefined || iaid?.length !== 'aa:bb:cc:dd'.length ? {} : { identity: { duid, iaid } }
}

/** Normalizes the formats of dhclient (`0:1:a0`) and dhcpcd (`0001a0`); a DUID has at most 130 bytes. */
function normalizeHex(text = ''): string | undefined {
  const bytes = text.includes(':') ? text.split(':').map((it) => it.padStart(2, '0')) : (text.match(/../g) ?? [])
  return bytes.length <= 130 && bytes.length > 0 && bytes.every((it) => /^[0-9a-f]{2}$/i.test(it))
    ? bytes.join(':')
    : undefined
}

/** The prefix length by address class, when the server gives no mask. */
function classfulPrefix(ip: string): string {
  const first = Number.parseInt(ip, 10)
  return first < 128 ? '8' : first < 192 ? '16' : '24'
}

function validateLeaseAddress(ip: string, prefix: number | undefined, family: Family): { prefix: number } {
  if (/^169\.254\./.test(ip))
    throw new PipeworkError(`'${ip}' is the address of a client that got no answer`, {
      hint: 'Check that the DHCP server runs, and that this bridge or NIC reaches it.',
    })
  try {
    if (toCanonicalIp(ip, family) !== ip) throw new RangeError(`'${ip}' is not an IPv${family} address`)
    // A prefix of 0 would contain every address.
    return { prefix: parseAddress(`${ip}/${prefix === 0 ? 'none' : prefix}`).prefix }
  } catch (error) {
    throw new PipeworkError(
      `the DHCP server offers an invalid address: ${error instanceof Error ? error.message : String(error)}`,
      { hint: 'Another DHCP server may run on this LAN. The interface was not changed.', cause: error },
    )
  }
}

function parseRouter(typed: string, own: string): readonly string[] {
  const ip = toCanonicalIp(typed, 4)
  if (ip === undefined || ip === own) return []
  try {
    return [parseAddress(`${ip}/32`).ip]
  } catch {
    return []
  }
}

function parseLeaseMtu(typed: string | undefined): { mtu?: number } {
  const mtu = /^\d{2,5}$/.test(typed ?? '') ? Number(typed) : 0
  // The minimum of every host (RFC 791); Linux would accept 68.
  return mtu >= 576 && mtu <= 65535 ? { mtu } : {}
}

function parseDomain(typed: string | undefined): { domain?: string } {
  const [domain] = splitWords(typed)
  return domain !== undefined && /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(domain) ? { domain } : {}
}

/** Option 121, or 249 of Microsoft; undefined when the server gives neither and its router is used. */
function parseClasslessRoutes(event: HookVariables): readonly LeasedRoute[] | undefined {
  const text = event.staticroutes ?? event.msstaticroutes ?? event.new_classless_static_routes
  if (text !== undefined) {
    const list = splitWords(text)
    return list.flatMap((dst, index) => (index % 2 === 0 ? parseClasslessRoute(dst, list[index + 1] ?? '') : []))
  }
  const bytes = event.new_rfc3442_classless_static_routes
  return bytes === undefined ? undefined : parseRouteBytes(splitWords(bytes).map(Number))
}

/** The format of dhclient: for each route the prefix length, the significant bytes, and four bytes of the router. */
function parseRouteBytes(bytes: readonly number[]): readonly LeasedRoute[] {
  const routes: LeasedRoute[] = []
  for (let at = 0; at < bytes.length; ) {
    const prefix = bytes[at] ?? 0
    const count = Math.ceil(prefix / 8)
    const network = [...bytes.slice(at + 1, at + 1 + count), 0, 0, 0, 0].slice(0, 4)
    routes.push(
      ...parseClasslessRoute(`${network.join('.')}/${prefix}`, bytes.slice(at + 1 + count, at + 5 + count).join('.')),
    )
    at += 5 + count
  }
  return routes
}

function parseClasslessRoute(dst: string, via: string): readonly LeasedRoute[] {
  const [network = '', length = ''] = dst.split('/')
  const [ip, prefix] = [toCanonicalIp(network, 4), parsePrefixLength(length, 4)]
  if (ip === undefined || prefix === undefined || /^(127|22[4-9]|2[3-5]\d)\./.test(ip)) return []
  const [router] = parseRouter(via, '')
  if (router === undefined && toCanonicalIp(via, 4) !== '0.0.0.0') return []
  const canonical = toNetworkCidr({ ip, prefix })
  if (router === undefined) return prefix === 0 ? [] : [{ dst: canonical }]
  return [{ dst: canonical, via: router }]
}
