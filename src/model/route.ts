import { type Family, parsePrefixLength, toCanonicalIp, toNetworkCidr, validateHostAddress } from './address'
import { usageError } from './errors'
import { isIP } from './ip'

/** A route asked for: a destination, a router or none when it is on the link, a metric or the kernel's choice. */
export interface RouteSpec {
  readonly family: Family
  /** `network/prefix`, canonical. */
  readonly dst: string
  readonly via?: string
  readonly metric?: number
}

/** `network/prefix[,via][,metric]`, like 10.0.0.0/8,192.168.1.254,100. Throws a usage error. */
export function parseRouteSpec(typed: string): RouteSpec {
  const [network = '', ...rest] = typed.split(',')
  const [ip = '', prefixText, ...more] = network.split('/')
  const family = isIP(ip)
  const prefix = family === 0 || prefixText === undefined ? undefined : parsePrefixLength(prefixText, family)
  if (family === 0 || prefix === undefined || more.length > 0 || rest.length > 2)
    throw usageError(
      `--route '${typed}' is not a route`,
      'Write NETWORK/PREFIX[,VIA][,METRIC], like 10.0.0.0/8,192.168.1.254.',
    )
  if (prefix === 0)
    throw usageError(
      `--route '${typed}' is a default route`,
      'Write its router after the address, like 10.0.0.2/24@10.0.0.1, and its metric with --metric.',
    )
  const dst = toNetworkCidr({ ip, prefix })
  if (dst !== `${toCanonicalIp(ip, family)}/${prefix}`)
    throw usageError(
      `--route '${typed}': ${ip} is not the beginning of a network of ${prefix} bits`,
      `Did you mean ${dst}?`,
    )
  // Metrics are numbers without dots or colons, routers are not.
  const last = rest.at(-1)
  const metric = last !== undefined && /^\d+$/.test(last) ? { metric: parseMetric(last, '--route') } : {}
  const [via] = 'metric' in metric ? rest.slice(0, -1) : rest
  return {
    family,
    dst,
    via: via === undefined ? undefined : parseRouteVia(via, family, typed),
    ...metric,
  }
}

function parseRouteVia(via: string, family: Family, typed: string): string {
  const ip = toCanonicalIp(via, family)
  if (ip === undefined)
    throw usageError(
      `--route '${typed}': '${via}' is not an IPv${family} address`,
      'The router has the family of the destination.',
    )
  validateHostAddress({ family, ip }, typed)
  return ip
}

/** The preference of a route: the kernel takes the lowest. Throws a usage error. */
export function parseMetric(typed: string, option: string): number {
  const metric = /^\d{1,10}$/.test(typed) ? Number(typed) : Number.NaN
  if (!(metric <= 0xffffffff))
    throw usageError(`${option} '${typed}' is not a metric`, 'It is a number from 0 on; the lowest wins.')
  return metric
}
