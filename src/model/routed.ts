import type { Address } from './address'

/** The host interface `ptp` or `routed:<nic>`: the host itself is the guest's router, without a bridge. */
export interface RoutedSpec {
  /** The NIC whose LAN the guest's addresses belong to; absent for `ptp`. */
  readonly nic?: string
}

/** Parses `ptp` and `routed:<nic>`; undefined for any other host interface. */
export function parseRouted(hostif: string): RoutedSpec | undefined {
  if (hostif === 'ptp') return {}
  return hostif.startsWith('routed:') ? { nic: hostif.slice('routed:'.length) } : undefined
}

/** The gateway when none is given: the host end of the link has this address. */
export const LINK_LOCAL_GATEWAY = { 4: '169.254.1.1', 6: 'fe80::1' } as const

/** The addresses, with the link-local gateway in each family that has none. */
export function withDefaultGateways(addresses: readonly Address[]): readonly Address[] {
  return addresses.map((address, index) => {
    const { family } = address
    const ofFamily = addresses.filter((it) => it.family === family)
    const isFirst = addresses.findIndex((it) => it.family === family) === index
    return isFirst && ofFamily.every(({ gateway }) => gateway === undefined)
      ? { ...address, gateway: LINK_LOCAL_GATEWAY[family] }
      : address
  })
}
