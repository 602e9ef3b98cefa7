import type { Plan, Step } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'

/** A DHCPv6 client sends from its link-local address. */
export function planLinkLocalWait(ifname: string): Step {
  return {
    description: `wait until ${ifname} has its link-local address`,
    command: {
      kind: 'ask',
      in: 'guest',
      argv: ['ip', '-6', 'addr', 'show', 'dev', ifname, 'scope', 'link', '-tentative'],
      retryUntil: 'inet6',
      timeout: 10,
    },
    explainFailure: () => ({ message: `'${ifname}' got no link-local address within 10 s`, hint: 'Is the bridge up?' }),
  }
}

/** The kernel configures the address from a router advertisement; the plan only waits. */
export function planSlaac({ request: { ifname, sources, dhcp, hostif }, facts: { inGuest } }: AttachContext): Plan {
  if (!sources.some(({ kind }) => kind === 'slaac')) return []
  if (
    inGuest?.addresses.some(({ family, automatic, ip }) => family === 6 && automatic && !ip.startsWith('fe80')) ??
    false
  )
    return []
  return [
    {
      description: `wait up to ${dhcp.timeout} s for an address by router advertisement`,
      command: {
        kind: 'ask',
        in: 'guest',
        argv: ['ip', '-6', 'addr', 'show', 'dev', ifname, 'scope', 'global', 'dynamic', '-tentative'],
        retryUntil: 'inet6',
        timeout: dhcp.timeout,
      },
      explainFailure: () => ({
        message: `no address by router advertisement on '${hostif}' within ${dhcp.timeout} s`,
        hint: 'Does a router advertise a prefix with the A flag there? To wait longer: --dhcp-timeout SECONDS.',
      }),
    },
  ]
}
