import type { GuestName } from '../model/guest-name'
import { type DetachedLink, type DetachResult, type DisconnectResult, placeholderGuest } from '../operations/detach'
import { formatScript } from '../plan/script'
import { GuestNotFoundError } from '../runtimes/find'
import { formatGuest } from '../state/record'
import { type Output, toScriptOutput } from './output'

/** The shell script that detaches. */
export function toDetachScript({ detached, target: { resolved } }: DetachResult, words: readonly string[]): string {
  const guest = resolved.guest ?? detached.map(({ attachment }) => placeholderGuest(attachment.record.guest))[0]
  return guest === undefined ? '' : formatScript({ plan: detached.flatMap((it) => it.plan), guest, words })
}

/** The script of `disconnect --dry-run`. */
export function toDisconnectScriptOutput(result: DisconnectResult, words: readonly string[]): Output {
  if (result.kind === 'nothing') return toNothingDetachedOutput(result.result)
  if (result.kind === 'detached') {
    const plan = result.result.detached.flatMap((it) => it.plan)
    return toScriptOutput(
      toDetachScript(result.result, words),
      plan.map(({ description }) => description),
    )
  }
  const { plan, guest } = result.cleanup
  return toScriptOutput(
    formatScript({ plan, guest, words }),
    plan.map(({ description }) => description),
  )
}

/** What `disconnect` prints; `undo` are the commands that attach the guest again. */
export function toDisconnectOutput(
  result: DisconnectResult,
  { undo, elapsed }: { readonly undo: readonly string[]; readonly elapsed: number },
): Output {
  if (result.kind === 'nothing') return toNothingDetachedOutput(result.result)
  if (result.kind === 'cleaned') {
    const steps = result.cleanup.plan.map(({ description }) => description)
    return {
      text: [result.cleanup.title, ...steps.map((step) => `  ${step}`)].map((line) => `${line}\n`).join(''),
      json: { ok: true, changed: true, detached: [], steps },
    }
  }
  const { text, json } = toDetachedOutput(result.result.detached)
  // The time is appended to the last attachment's line; lines about other changes follow.
  const end = text.indexOf('\n', text.lastIndexOf(' no longer has '))
  return {
    text: `${text.slice(0, end)} (${Math.round(elapsed)} ms)${text.slice(end)}${undo.map((line) => `  undo: ${line}\n`).join('')}`,
    json: { ...json, undo },
  }
}

/** Reports that nothing was attached: no error, unless the guest does not exist. */
function toNothingDetachedOutput({ attachments, target: { guestName, ifnames, resolved } }: DetachResult): Output {
  if (resolved.error instanceof GuestNotFoundError && attachments.length === 0) throw resolved.error
  const what = ifnames === undefined ? 'nothing' : `no ${ifnames.join(', ')}`
  const has = attachments.length === 0 ? '' : ` (it has ${attachments.map(({ record }) => record.ifname).join(', ')})`
  return {
    text: `${formatTypedGuest(guestName)} has ${what} that pipework attached${has}; nothing changed\n`,
    json: { ok: true, changed: false, detached: [] },
  }
}

const formatTypedGuest = ({ kind = 'docker', name }: GuestName) => formatGuest({ kind, name })

/** One line for each detached interface, with what was restored. */
export function toDetachedOutput(detached: readonly DetachedLink[]): Output {
  const lines = detached.flatMap(({ attachment: { record }, plan }) => [
    `${formatGuest(record.guest)} no longer has ${record.ifname} on ${record.hostif}`,
    ...plan
      .filter(({ description }) => /^(remove |restore |release )/.test(description))
      .map(({ description }) => `  ${description}`),
  ])
  const links = detached.map(({ attachment: { record, hostEnd }, plan }) => ({
    guest: record.guest,
    ifname: record.ifname,
    hostif: record.hostif,
    hostEnd: hostEnd?.name ?? null,
    steps: plan.map(({ description }) => description),
  }))
  return {
    text: lines.map((line) => `${line}\n`).join(''),
    json: { ok: true, changed: links.length > 0, detached: links },
  }
}
