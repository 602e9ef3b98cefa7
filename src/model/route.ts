import { type Family, ipFamily, parsePrefixLength, toCanonicalIp, toNetworkCidr, validateHostAddress } from './address'
import { usageError } from './errors'

/** A requested route. Without `via` it is on-link; without `metric` the kernel chooses. */
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
  const family = ipFamily(ip)
  const prefix = family === undefined || prefixText === undefined ? undefined : parsePrefixLength(prefixText, family)
  if (family === undefined || prefix === undefined || more.length > 0 || rest.length > 2)
    throw usageError(
      `--route '${typed}' is not a route`,
      'Write NETWORK/PREFIX[,VIA][,METRIC], like 10.0.0.0/8,192.168.1.254.',
    )
  if (prefix === 0)
    throw usageError(
      `--route '${typed}' is a default route`,
      'Append the gateway to the address, like 10.0.0.2/24@10.0.0.1; --metric sets its metric.',
    )
  const dst = toNetworkCidr({ ip, prefix })
  if (dst !== `${toCanonicalIp(ip, family)}/${prefix}`)
    throw usageError(`--route '${typed}': ${ip} is not the network address of a /${prefix}`, `Did you mean ${dst}?`)
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
      'Gateway and destination must have the same family.',
    )
  validateHostAddress({ family, ip }, typed)
  return ip
}

/** The metric of a route: the kernel prefers the lowest. Throws a usage error. */
export function parseMetric(typed: string, option: string): number {
  const metric = /^\d{1,10}$/.test(typed) ? Number(typed) : Number.NaN
  if (!(metric <= 0xffffffff))
    throw usageError(`${option} '${typed}' is not a metric`, 'It is a number from 0; the lowest wins.')
  return metric
}
