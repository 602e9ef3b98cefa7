import { NETNS_DIR, type NetnsNameResult } from '../operations/netns-name'
import { formatScript } from '../plan/script'
import type { Plan } from '../plan/step'
import type { Guest } from '../runtimes/find'
import { formatGuest } from '../state/record'
import { type Output, toScriptOutput } from './output'

/** The script of a dry run. */
export function toNetnsScriptOutput(plan: Plan, words: readonly string[]): Output {
  return toScriptOutput(
    formatScript({ plan, words: ['netns', ...words] }),
    plan.map(({ description }) => description),
  )
}

export function toNamedOutput({ name, path, plan }: NetnsNameResult, guest: Guest): Output {
  const changed = plan.length > 0
  const undo = `ip netns del ${name}`
  return {
    text: changed
      ? `${formatGuest(guest)} is ${name} for ip netns: ip netns exec ${name} ip address\n  undo: ${undo}\n`
      : `${formatGuest(guest)} is ${name} for ip netns already; nothing changed\n`,
    json: { ok: true, changed, name, path, guest: { kind: guest.kind, name: guest.name }, undo },
  }
}

export function toPrunedOutput(removed: readonly string[]): Output {
  return {
    text:
      removed.length === 0
        ? `every name in ${NETNS_DIR} leads to a network namespace; nothing changed\n`
        : removed.map((name) => `removed ${name}, which led to no namespace\n`).join(''),
    json: { ok: true, changed: removed.length > 0, removed },
  }
}
