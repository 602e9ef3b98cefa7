import { formatRequestWords } from '../model/request'
import { shellQuote } from '../model/shell'
import type { AttachResult } from '../operations/attach/run'
import { formatScript } from '../plan/script'
import { formatGuest } from '../state/record'
import { type Output, toScriptOutput } from './output'
import { formatAttachment } from './report'

/** What an attach prints. */
export function toAttachOutput(result: AttachResult, elapsed: number): Output {
  const { request, guest, plan, uplinkChange } = result.attachPlan
  if (result.kind === 'dry-run') {
    const notes = result.isGuestRead
      ? []
      : [`not root: the inside of ${guest.name} could not be read and is assumed to be empty`]
    const script = formatScript({ plan, guest, words: formatRequestWords(request), notes })
    return toScriptOutput(
      script,
      plan.map(({ description }) => description),
    )
  }
  const { attachment, warning } = result
  const uplinkPlan = uplinkChange?.plan ?? []
  const changed = plan.length > 0 || uplinkPlan.length > 0
  const undo = `pipework disconnect ${formatGuest(guest)}${request.ifname === 'eth1' ? '' : ` ${shellQuote(request.ifname)}`}`
  const uplinkUndo = uplinkPlan.length > 0 ? `, and pipework uplink del ${request.hostif}` : ''
  const { sharedWith } = guest
  const shared =
    sharedWith === undefined ? '' : `  ${guest.name} shares the network of ${sharedWith}: both have it now\n`
  return {
    text: changed
      ? `${formatAttachment(attachment)} (${Math.round(elapsed)} ms)\n${shared}  undo: ${undo}${uplinkUndo}\n`
      : `${formatAttachment(attachment)} already; nothing changed\n${shared}`,
    json: {
      ...{ ok: true, changed, attachment },
      ...{ steps: [...uplinkPlan, ...plan].map(({ description }) => description), undo, sharedWith },
      warnings: warning === undefined ? undefined : [warning],
    },
  }
}
