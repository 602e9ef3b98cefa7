import type { System } from '../system/types'

/** A file that exists once an attachment has needed host services; without it the firewall is not read. */
export const SERVICES_MARKER = '/run/pipework/outside'

/** Whether the host may have rules, routes, addresses or sysctls of ours. */
export function mayHaveHostServices(system: System): boolean {
  return system.read(SERVICES_MARKER) !== undefined
}
