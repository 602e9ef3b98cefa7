import type { Context } from '../../drivers/types'
import type { Plan, Step } from '../../plan/step'

/** No client of DHCPv6 has an address to ask from before. */
export function waitForLinkLocal(ifname: string): Step {
  return {
    why: `wait until ${ifname} has its link-local address`,
    command: {
      kind: 'ask',
      in: 'guest',
      argv: ['ip', '-6', 'addr', 'show', 'dev', ifname, 'scope', 'link', '-tentative'],
      againUntil: 'inet6',
      limit: 10,
    },
    explain: () => ({ message: `'${ifname}' got no link-local address within 10 s`, hint: 'Is the bridge up?' }),
  }
}

/** The kernel makes the address of what the router says; all there is to do is to wait. */
export function planSlaac({ request: { ifname, sources, dhcp, hostif }, facts: { inGuest } }: Context): Plan {
  if (!sources.some(({ kind }) => kind === 'slaac')) return []
  if (
    inGuest?.addresses.some(({ family, automatic, ip }) => family === 6 && automatic && !ip.startsWith('fe80')) ??
    false
  )
    return []
  return [
    {
      why: `wait up to ${dhcp.timeout} s for an address by the router's advertisement`,
      command: {
        kind: 'ask',
        in: 'guest',
        argv: ['ip', '-6', 'addr', 'show', 'dev', ifname, 'scope', 'global', 'dynamic', '-tentative'],
        againUntil: 'inet6',
        limit: dhcp.timeout,
      },
      explain: () => ({
        message: `no address by a router's advertisement on '${hostif}' within ${dhcp.timeout} s`,
        hint: 'Does a router advertise a prefix there, with the flag A? More time: --dhcp-timeout SECONDS.',
      }),
    },
  ]
}
