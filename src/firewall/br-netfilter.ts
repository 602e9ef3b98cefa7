import type { Family } from '../model/address'
import type { Host } from '../system/types'

const SYSCTLS = { 4: 'bridge-nf-call-iptables', 6: 'bridge-nf-call-ip6tables' } as const

/** The families of IP in which frames on bridges go through the host's firewall: two small files of the kernel say so. */
export function filteredFamilies(host: Host): readonly Family[] {
  return ([4, 6] as const).filter((family) => Number(host.read(`/proc/sys/net/bridge/${SYSCTLS[family]}`) ?? 0) > 0)
}
