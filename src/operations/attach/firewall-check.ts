import { brNetfilterFamilies } from '../../firewall/br-netfilter'
import { needsForwarding } from '../../model/host-services'
import type { Warning } from '../../model/report'
import type { AttachRequest } from '../../model/request'
import type { System } from '../../system/types'
import { type AttachPlan, toFirewallSubject } from '.'

/** Says whether the host's firewall drops what an attachment sends. */
export type FirewallCheck = (attachPlan: AttachPlan) => Promise<Warning | undefined>

/** Reads the firewall; undefined when no packet of these requests can meet one. */
export async function createFirewallCheck(
  requests: readonly AttachRequest[],
  system: System,
): Promise<FirewallCheck | undefined> {
  if (!system.isRoot || (brNetfilterFamilies(system).length === 0 && !requests.some(needsForwarding))) return undefined
  const { startFirewallCheck } = await import('../../firewall/check')
  const check = startFirewallCheck(system)
  return async (attachPlan) => check(await toFirewallSubject(attachPlan, system))
}

/** Whether a request asks for a warning: with --strict the firewall was checked before the first change. */
export function wantsFirewallWarning({ firewall, strict }: AttachRequest): boolean {
  return firewall === 'warn' && !strict
}
