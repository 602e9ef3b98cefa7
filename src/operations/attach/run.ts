import type { AttachmentReport, Warning } from '../../model/report'
import type { AttachRequest } from '../../model/request'
import { DHCP_DIR } from '../../network/dhcp/state'
import type { Guest } from '../../runtimes/find'
import type { HeldNetns, System } from '../../system/types'
import { describeAttachment } from '../attachment-report'
import type { ChangeOptions } from '../types'
import { type AttachPlan, attachGuests, planAttachment } from '.'
import { createFirewallCheck, wantsFirewallWarning } from './firewall-check'

export interface AttachRunOptions extends ChangeOptions {
  /** Seconds in which the user must confirm an uplink. */
  readonly confirm?: number
  /** Called with a text that says what pipework waits for. */
  readonly notify?: (text: string) => void
}

/** What an attach did, or would do. */
export type AttachResult =
  | { readonly kind: 'dry-run'; readonly attachPlan: AttachPlan; readonly isGuestRead: boolean }
  | {
      readonly kind: 'done'
      readonly attachPlan: AttachPlan
      readonly attachment: AttachmentReport
      readonly warning?: Warning
    }

/** Attaches a guest as requested: all of it, or nothing. Only plans when there is no namespace (not root). */
export async function attachGuest(
  request: AttachRequest,
  { guest, pin }: { readonly guest: Guest; readonly pin: HeldNetns | undefined },
  options: AttachRunOptions,
): Promise<AttachResult> {
  const { system } = options
  if (pin === undefined || options.dryRun) {
    const attachPlan = await planAttachment(request, { guest, pin }, system)
    return { kind: 'dry-run', attachPlan, isGuestRead: pin !== undefined }
  }
  // Read the firewall rules while the first steps run.
  const checking = wantsFirewallWarning(request)
    ? system.sleep(0).then(() => createFirewallCheck([request], system))
    : undefined
  checking?.catch(() => {})
  const transcript = options.openTranscript?.(guest)
  const hadClients = hasDhcpClients(system)
  const [attachPlan] = await attachGuests([request], { guest, pin }, { ...options, ...transcript }).finally(() =>
    transcript?.end(),
  )
  if (attachPlan === undefined) throw new TypeError('one request, and no plan')
  if (hadClients) await (await import('../../network/dhcp/cleanup')).cleanUpDhcpClients(system)
  const warning = await (await checking)?.(attachPlan)
  const attachment = await addLeases(describeAttachment(attachPlan, system), system)
  return { kind: 'done', attachPlan, attachment, warning }
}

function hasDhcpClients(system: System): boolean {
  return (system.list(DHCP_DIR) ?? []).length > 0
}

async function addLeases(attachment: AttachmentReport, system: System): Promise<AttachmentReport> {
  if (attachment.sources === undefined) return attachment
  const { readLeaseReports } = await import('../../network/dhcp/report')
  const leases = readLeaseReports(attachment, system)
  const leased = leases.flatMap(({ address, router }) =>
    address === null ? [] : [`${address}${router === null ? '' : `@${router}`}`],
  )
  const typed = attachment.addresses?.filter((it) => !leased.includes(it)) ?? []
  return { ...attachment, addresses: [...leased, ...typed], leases }
}
