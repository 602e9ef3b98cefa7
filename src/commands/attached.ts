import { brNetfilterFamilies } from '../firewall/br-netfilter'
import { needsForwarding } from '../model/host-services'
import { type AttachmentReport, formatWarning, type Warning } from '../model/report'
import { type AttachRequest, formatRequestWords } from '../model/request'
import { formatUplinkSpec } from '../model/uplink'
import { DHCP_DIR } from '../network/dhcp/state'
import {
  type ApplyOptions,
  type AttachPlan,
  applyAttachments,
  findCurrentHostEnd,
  planAttachment,
  toFirewallSubject,
} from '../operations/attach'
import { toAttachmentReport } from '../operations/attachment-report'
import { formatScript } from '../plan/script'
import type { Guest } from '../runtimes/find'
import { DEFAULT_MTU } from '../state/host-links'
import { formatGuest } from '../state/record'
import type { HeldNetns, System } from '../system/types'
import { type CommandContext, type CommandOutcome, openTranscripts } from '../ui/command'
import { formatAttachment } from '../ui/report'
import type { Transcript } from '../ui/transcript'

/** What a call lends to the changes that it asks for. */
export function toApplyOptions({ system, io }: CommandContext, transcript: Transcript | undefined): ApplyOptions {
  return { system, interrupt: io.interrupt, ...transcript }
}

/** The same for who may be asked whether a connection of the host still works. */
async function toUplinkApplyOptions(
  request: AttachRequest,
  transcript: Transcript | undefined,
  call: CommandContext,
): Promise<ApplyOptions> {
  if (request.uplink === undefined) return toApplyOptions(call, transcript)
  const { toUplinkRunOptions } = await import('./connector')
  const { confirm, notify } = await toUplinkRunOptions(call)
  return { ...toApplyOptions(call, transcript), notify, ...(confirm === undefined ? {} : { confirm }) }
}

/** Attaches the guest, or says what that would take. */
export async function attachGuest(
  request: AttachRequest,
  { guest, pin }: { readonly guest: Guest; readonly pin: HeldNetns | undefined },
  call: CommandContext,
): Promise<CommandOutcome> {
  if (pin === undefined || call.hasFlag('dry-run'))
    return toAttachScriptResult(await planAttachment(request, { guest, pin }, call.system), pin)
  // The rules are read while the first steps run; with --strict they were judged before them.
  const isAsked = request.firewall === 'warn' && !request.strict
  const watch = isAsked ? call.system.sleep(0).then(() => createFirewallCheck([request], call.system)) : undefined
  watch?.catch(() => {})
  const transcript = (await openTranscripts(call, 'one'))?.(guest)
  const means = await toUplinkApplyOptions(request, transcript, call)
  const hadClients = (call.system.list(DHCP_DIR) ?? []).length > 0
  const [planned] = await applyAttachments([request], { guest, pin }, means).finally(() => transcript?.end())
  if (planned === undefined) throw new TypeError('one request, and no plan')
  // Clients that outlived their guests, if there were any at all.
  if (hadClients) await (await import('../network/dhcp/cleanup')).cleanUpDhcpClients(call.system)
  const warn = await watch
  const warning = await warn?.(planned)
  if (warning !== undefined) call.io.err(formatWarning(warning))
  return await toAttachResult(planned, warning, call)
}

function toAttachScriptResult({ request, guest, plan }: AttachPlan, pin: HeldNetns | undefined): CommandOutcome {
  const notes =
    pin === undefined ? [`not root: the inside of ${guest.name} could not be read and is taken to be empty`] : []
  const script = formatScript({ plan, guest, words: formatRequestWords(request), notes })
  return {
    text: script,
    json: { ok: true, dryRun: true, steps: plan.map(({ description }) => description), script },
    printWhenQuiet: true,
  }
}

/** Nobody waits for the rules of a firewall that no bridge's frames meet, and nothing that is forwarded. */
export async function createFirewallCheck(requests: readonly AttachRequest[], system: System) {
  if (!system.isRoot || (brNetfilterFamilies(system).length === 0 && !requests.some(needsForwarding))) return undefined
  const { startFirewallCheck } = await import('../firewall/bridge-accept')
  const judge = startFirewallCheck(system)
  return async (planned: AttachPlan) => judge(await toFirewallSubject(planned, system))
}

/** The attachment as it is now, for who reads of it. */
export function describeAttachment(planned: AttachPlan, system: System): AttachmentReport {
  const { request, guest, facts } = planned
  const hostEnd = findCurrentHostEnd(planned, system)
  const { kind, name, id } = guest
  const { ifname, hostif, addresses, words } = request
  const uplink = request.uplink === undefined ? {} : { uplink: formatUplinkSpec(request.uplink) }
  const sources = request.sources.length === 0 ? {} : { sources: request.sources.map(({ typed }) => typed) }
  const record = { kind: 'link', ifname, hostif, ...uplink, addresses, ...sources, words, previous: [] } as const
  return toAttachmentReport(
    { ...record, guest: { kind, name, id } },
    { mtu: request.mtu ?? facts.hostif?.mtu ?? DEFAULT_MTU, up: true },
    hostEnd?.name,
  )
}

/** The same with what the DHCP servers gave. */
async function addLeases(attachment: AttachmentReport, system: System): Promise<AttachmentReport> {
  if (attachment.sources === undefined) return attachment
  const { readLeaseReports } = await import('../network/dhcp/report')
  const leases = readLeaseReports(attachment, system)
  const given = leases.flatMap(({ address, router }) =>
    address === null ? [] : [`${address}${router === null ? '' : `@${router}`}`],
  )
  const typed = attachment.addresses?.filter((it) => !given.includes(it)) ?? []
  return { ...attachment, addresses: [...given, ...typed], leases }
}

async function toAttachResult(
  planned: AttachPlan,
  warning: Warning | undefined,
  { system }: CommandContext,
): Promise<CommandOutcome> {
  const { request, guest, plan } = planned
  const attachment = await addLeases(describeAttachment(planned, system), system)
  const { name } = guest
  const connected = planned.uplinkChange?.plan ?? []
  const changed = plan.length > 0 || connected.length > 0
  const undo = `pipework disconnect ${formatGuest(guest)}${request.ifname === 'eth1' ? '' : ` ${request.ifname}`}`
  const { sharedWith } = guest
  const shared = sharedWith === undefined ? '' : `  ${name} shares the network of ${sharedWith}: both have it now\n`
  return {
    text: changed
      ? `${formatAttachment(attachment)} (${Math.round(system.elapsed())} ms)\n${shared}  undo: ${undo}${connected.length > 0 ? `, and pipework uplink del ${request.hostif}` : ''}\n`
      : `${formatAttachment(attachment)} already; nothing changed\n${shared}`,
    json: {
      ...{ ok: true, changed, attachment, steps: [...connected, ...plan].map(({ description }) => description), undo },
      sharedWith,
      warnings: warning === undefined ? undefined : [warning],
    },
  }
}
