import { type Plan, type RunCommand, rows } from '../../plan/step'
import { type Live, sysctlFile } from './current'
import { byKey, describe, forwardingOf, type Need, type Sysctl } from './need'

/** Sets sysctls of the host. */
export function writeSysctls(settings: readonly (readonly [key: string, value: string])[]): RunCommand {
  return { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...settings.map(([key, value]) => `${key}=${value}`)] }
}

/**
 * A host that forwards IPv6 no longer hears routers, and loses the default route that one has announced: unless it is
 * told to listen all the same, before.
 */
function listListeners({ sysctls }: Need, live: Live): readonly Sysctl[] {
  const forwarding = forwardingOf(6)
  if (!sysctls.some(({ key }) => key === forwarding.key)) return []
  const key = (dev: string) => `net/ipv6/conf/${dev}/accept_ra`
  const isToBeTold = (dev: string) => live.sysctl(key(dev)) === '1' && live.sysctl(forwarding.key) !== '1'
  const told = [...live.kept.keys()].filter((it) => it.endsWith('/accept_ra'))
  const keys = new Set([...live.announced.filter(isToBeTold).map(key), ...told])
  return [...keys].map((it) => ({ key: it, value: '2', own: false }))
}

/** The sysctls that are wanted, those that must come first in front. */
function listSysctls(need: Need, live: Live): readonly Sysctl[] {
  return byKey([...listListeners(need, live), ...need.sysctls], ({ key }) => key)
}

/** Sets those that are not as they are wanted; what they were is kept where that does not go with an interface. */
export function planSysctls(need: Need, live: Live): Plan {
  const changes = listSysctls(need, live).filter(({ key, value }) => live.sysctl(key) !== value)
  // Of an interface that is still to be made there is nothing to keep, or to put back.
  const known = changes.filter(({ key }) => live.sysctl(key) !== undefined)
  if (changes.length === 0) return []
  const before = known.map(({ key }) => [key, live.sysctl(key) ?? ''] as const)
  return [
    ...changes
      .filter(({ key, own }) => !own && !live.kept.has(key))
      .map(({ key }) => ({
        why: `keep the value that ${key} has, to put it back`,
        command: { kind: 'file', in: 'host', path: sysctlFile(key), text: live.sysctl(key) ?? '0' } as const,
        undo: { kind: 'file', in: 'host', path: sysctlFile(key) } as const,
      })),
    {
      why: `set ${changes.map(describe.sysctl).join(', ')}`,
      command: writeSysctls(changes.map(({ key, value }) => [key, value])),
      undo: before.length === 0 ? undefined : writeSysctls(before),
    },
  ]
}

/** What we set and nobody needs any more goes back to what it was, unless somebody has changed it since. */
export function dropSysctls(need: Need, live: Live): Plan {
  const wanted = new Set(listSysctls(need, live).map(({ key }) => key))
  // Listening to routers is switched off last, as it was switched on first.
  const isLast = ([key]: readonly [string, string]) => Number(key.endsWith('/accept_ra'))
  const stale = [...live.kept].filter(([key]) => !wanted.has(key)).sort((a, b) => isLast(a) - isLast(b))
  const set = stale.flatMap(([key, before]) => {
    const now = live.sysctl(key)
    return now === undefined || now === before ? [] : [{ key, before, now }]
  })
  return rows(
    set.length > 0 && {
      why: `put back ${set.map(({ key, before }) => `${key}=${before}`).join(', ')}`,
      command: writeSysctls(set.map(({ key, before }) => [key, before])),
      undo: writeSysctls(set.map(({ key, now }) => [key, now])),
    },
    stale.map(([key, before]) => ({
      why: `forget what ${key} was`,
      command: { kind: 'file', in: 'host', path: sysctlFile(key) } as const,
      undo: { kind: 'file', in: 'host', path: sysctlFile(key), text: before } as const,
    })),
  )
}

/** Settings that go with their interface: named, so that they come back with it. */
export function planOwnSysctls({ sysctls }: Need, live: Live): Plan {
  const set = sysctls.filter(({ key, value, own }) => own && live.sysctl(key) === value)
  const [answering] = set.filter(({ key }) => key.endsWith('/proxy_arp'))
  if (answering === undefined) return []
  return [
    {
      why: 'no longer answer for everybody on the link of the guest',
      command: writeSysctls([[answering.key, '0']]),
      undo: writeSysctls(set.map(({ key, value }) => [key, value])),
    },
  ]
}
