import type { Rule } from '../firewall/rule'
import type { Host } from '../host'
import type { Rule as Accept } from '../netfilter/ruleset'
import type { Forwarding } from '../passage'
import type { Family } from '../values'
import type { Flow } from '../verdict'
import { devOf, needOf, type Subject } from './subject'
import { parseRouted } from './wish'

/** Fields of a line of /proc/net/route and /proc/net/ipv6_route: where the device stands, and what a default route has. */
const TABLES = {
  4: {
    path: '/proc/net/route',
    device: 0,
    isDefault: (it: readonly string[]) => it[1] === '00000000' && it[7] === it[1],
  },
  6: {
    path: '/proc/net/ipv6_route',
    device: 9,
    isDefault: (it: readonly string[]) => /^0{32}$/.test(it[0] ?? '') && it[1] === '00',
  },
} as const

/** The interfaces by which the outside may be reached: those of default routes, else of any. */
function readWays(family: Family, dev: string, host: Host): readonly string[] {
  const { path, device, isDefault } = TABLES[family]
  const lines = (host.read(path) ?? '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((it) => it.length > 7 && it[0] !== 'Iface' && it[device] !== 'lo' && it[device] !== dev)
  const wanted = lines.some(isDefault) ? lines.filter(isDefault) : lines
  return [...new Set(wanted.map((it) => it[device] ?? ''))]
}

/** A rule of ours as a verdict looks at it. */
function toAccept({ family, in: from, out, from: saddr, to: daddr, state, ports }: Rule): Accept {
  const known = { in: from, out, saddr, daddr }
  const fields = (['in', 'out', 'saddr', 'daddr'] as const).flatMap((field) => {
    const value = known[field]
    return value === undefined ? [] : [{ field, values: [value] }]
  })
  const states = [...(state === 'known' ? ['established', 'related'] : []), ...(ports === undefined ? [] : ['dnat'])]
  return {
    matches: [
      { field: 'family', values: [`${family}`] },
      ...fields,
      ...(states.length === 0 ? [] : [{ field: 'state' as const, values: states }]),
    ],
    action: { kind: 'accept' },
  }
}

/** What such a rule is for: the first packet, or what belongs to a connection, in by the one and out by the other. */
function toFlow({ family, in: from, state, ports, ...rule }: Rule, dev: string, way: string | undefined): Flow {
  const outside = rule.out === dev || rule.out === undefined ? way : rule.out
  const [enters, leaves] = from === dev ? [dev, outside] : [outside, dev]
  return {
    ...{ family, state: state === 'known' ? 'established' : 'new' },
    ...(enters === undefined ? {} : { in: enters }),
    ...(leaves === undefined ? {} : { out: leaves }),
    ...(ports === undefined ? {} : { isTranslated: true }),
  }
}

/** What the host is to forward for an attachment, and the rules that pipework itself makes for it. */
export function forwardingOf(subject: Subject, host: Host): Forwarding | undefined {
  const { outside, hostif } = subject
  const dev = devOf(subject)
  const rules = needOf(subject, new Map()).rules.filter(({ act }) => act === 'accept')
  if (rules.length === 0) return undefined
  // What is published on 127.0.0.1 alone comes from nowhere else.
  const isNear = outside.published.every(({ at }) => at?.ip.startsWith('127.'))
  const routed = rules.filter((it) => !(it.in === dev && it.out === dev) && !(isNear && it.ports !== undefined))
  const nic = parseRouted(hostif)?.nic
  const flows = ([4, 6] as const).flatMap((family): Forwarding['flows'] => {
    const own = routed.filter((it) => it.family === family)
    const ways = nic === undefined ? readWays(family, dev, host) : [nic]
    return own.length === 0
      ? []
      : [(ways.length === 0 ? [undefined] : ways).map((way) => own.map((rule) => toFlow(rule, dev, way)))]
  })
  return { flows, accepts: rules.map(toAccept) }
}
