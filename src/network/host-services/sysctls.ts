import { type Plan, planSteps, type RunCommand } from '../../plan/step'
import { type CurrentState, savedSysctlFile } from './current'
import { type DesiredState, describeState, forwardingSysctl, type HostSysctl, uniqueBy } from './need'

export function sysctlWriteCommand(settings: readonly (readonly [key: string, value: string])[]): RunCommand {
  return { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...settings.map(([key, value]) => `${key}=${value}`)] }
}

/**
 * A host that forwards IPv6 ignores router advertisements and loses its announced default route, unless accept_ra is
 * set to 2 before.
 */
function acceptRaSysctls({ sysctls }: DesiredState, live: CurrentState): readonly HostSysctl[] {
  const forwarding = forwardingSysctl(6)
  if (!sysctls.some(({ key }) => key === forwarding.key)) return []
  const key = (dev: string) => `net/ipv6/conf/${dev}/accept_ra`
  const isToBeTold = (dev: string) => live.sysctl(key(dev)) === '1' && live.sysctl(forwarding.key) !== '1'
  const told = [...live.savedSysctls.keys()].filter((it) => it.endsWith('/accept_ra'))
  const keys = new Set([...live.raDefaultDevs.filter(isToBeTold).map(key), ...told])
  return [...keys].map((it) => ({ key: it, value: '2', goesWithLink: false }))
}

/** The desired sysctls in the order in which they must be set. */
function desiredSysctls(need: DesiredState, live: CurrentState): readonly HostSysctl[] {
  return uniqueBy([...acceptRaSysctls(need, live), ...need.sysctls], ({ key }) => key)
}

/** Sets differing sysctls. Saves the previous value, unless the sysctl disappears with an interface. */
export function planHostSysctls(need: DesiredState, live: CurrentState): Plan {
  const changes = desiredSysctls(need, live).filter(({ key, value }) => live.sysctl(key) !== value)
  // An interface that does not exist yet has no value to save or restore.
  const known = changes.filter(({ key }) => live.sysctl(key) !== undefined)
  if (changes.length === 0) return []
  const before = known.map(({ key }) => [key, live.sysctl(key) ?? ''] as const)
  return [
    ...changes
      .filter(({ key, goesWithLink }) => !goesWithLink && !live.savedSysctls.has(key))
      .map(({ key }) => ({
        description: `keep the value that ${key} has, to put it back`,
        command: { kind: 'file', in: 'host', path: savedSysctlFile(key), text: live.sysctl(key) ?? '0' } as const,
        undo: { kind: 'file', in: 'host', path: savedSysctlFile(key) } as const,
      })),
    {
      description: `set ${changes.map(describeState.sysctl).join(', ')}`,
      command: sysctlWriteCommand(changes.map(({ key, value }) => [key, value])),
      undo: before.length === 0 ? undefined : sysctlWriteCommand(before),
    },
  ]
}

/** Restores sysctls that are no longer needed, unless another program has changed them since. */
export function planSysctlRestore(need: DesiredState, live: CurrentState): Plan {
  const wanted = new Set(desiredSysctls(need, live).map(({ key }) => key))
  // Restores accept_ra last: it was set first.
  const isLast = ([key]: readonly [string, string]) => Number(key.endsWith('/accept_ra'))
  const stale = [...live.savedSysctls].filter(([key]) => !wanted.has(key)).sort((a, b) => isLast(a) - isLast(b))
  const set = stale.flatMap(([key, before]) => {
    const now = live.sysctl(key)
    return now === undefined || now === before ? [] : [{ key, before, now }]
  })
  return planSteps(
    set.length > 0 && {
      description: `put back ${set.map(({ key, before }) => `${key}=${before}`).join(', ')}`,
      command: sysctlWriteCommand(set.map(({ key, before }) => [key, before])),
      undo: sysctlWriteCommand(set.map(({ key, now }) => [key, now])),
    },
    stale.map(([key, before]) => ({
      description: `forget what ${key} was`,
      command: { kind: 'file', in: 'host', path: savedSysctlFile(key) } as const,
      undo: { kind: 'file', in: 'host', path: savedSysctlFile(key), text: before } as const,
    })),
  )
}

/** Turns off proxy ARP before its interface is removed; the undo sets the sysctls of that interface again. */
export function planLinkSysctlReset({ sysctls }: DesiredState, live: CurrentState): Plan {
  const set = sysctls.filter(({ key, value, goesWithLink }) => goesWithLink && live.sysctl(key) === value)
  const [answering] = set.filter(({ key }) => key.endsWith('/proxy_arp'))
  if (answering === undefined) return []
  return [
    {
      description: 'no longer answer for everybody on the link of the guest',
      command: sysctlWriteCommand([[answering.key, '0']]),
      undo: sysctlWriteCommand(set.map(({ key, value }) => [key, value])),
    },
  ]
}
