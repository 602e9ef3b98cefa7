import type { Family } from '../model/address'
import type { System } from '../system/types'

const BR_NETFILTER_SYSCTLS = { 4: 'bridge-nf-call-iptables', 6: 'bridge-nf-call-ip6tables' } as const

/** The families of IP in which frames on bridges go through the host's firewall: two small files of the kernel say so. */
export function brNetfilterFamilies(system: System): readonly Family[] {
  return ([4, 6] as const).filter(
    (family) => Number(system.read(`/proc/sys/net/bridge/${BR_NETFILTER_SYSCTLS[family]}`) ?? 0) > 0,
  )
}
