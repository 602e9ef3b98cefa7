import { brNetfilterFamilies } from '../../firewall/br-netfilter'
import { needsForwarding } from '../../model/host-services'
import type { Warning } from '../../model/report'
import type { AttachRequest } from '../../model/request'
import type { System } from '../../system/types'
import { type AttachPlan, toFirewallSubject } from '.'

/** Checks whether the host's firewall drops the traffic of an attachment. */
export type FirewallCheck = (attachPlan: AttachPlan) => Promise<Warning | undefined>

/** Reads the firewall rules; undefined when these requests need no firewall check. */
export async function createFirewallCheck(
  requests: readonly AttachRequest[],
  system: System,
): Promise<FirewallCheck | undefined> {
  if (!system.isRoot || (brNetfilterFamilies(system).length === 0 && !requests.some(needsForwarding))) return undefined
  const { startFirewallCheck } = await import('../../firewall/check')
  const check = startFirewallCheck(system)
  return async (attachPlan) => check(await toFirewallSubject(attachPlan, system))
}

/** Whether to warn after the attach: --strict has already checked the firewall before the first change. */
export function wantsFirewallWarning({ firewall, strict }: AttachRequest): boolean {
  return firewall === 'warn' && !strict
}
