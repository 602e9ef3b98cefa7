import type { ServiceChange, UnitState } from '../operations/service'
import { WATCH_UNIT, WATCH_UNIT_FILE } from '../operations/systemd-unit'
import { formatScript } from '../plan/script'
import { type Output, toScriptOutput } from './output'

/** What `service install` and `service remove` print. */
export function toServiceOutput(
  action: 'install' | 'remove',
  { plan, isRunning }: ServiceChange,
  { dryRun = false, words }: { readonly dryRun?: boolean; readonly words: readonly string[] },
): Output {
  const steps = plan.map(({ description }) => description)
  if (dryRun) return toScriptOutput(formatScript({ plan, words: ['service', action, ...words] }), steps)
  const changed = plan.length > 0
  const title = action === 'install' ? 'the service is installed' : 'the service is removed; attachments stay'
  const next = isRunning ? [] : [`  start it now: systemctl start ${WATCH_UNIT}`]
  const hints = action === 'install' ? ['  see what it does: journalctl -u pipework', ...next] : []
  const lines = changed
    ? [title, ...hints, ...steps.map((step) => `  did: ${step}`)]
    : [`${title} already; nothing changed`]
  return { text: lines.map((line) => `${line}\n`).join(''), json: { ok: true, changed, unit: WATCH_UNIT_FILE, steps } }
}

/** What `service status` prints; exit code 1 when the service is not running. */
export function toStatusOutput({ isLoaded, isEnabled, isActive, state, says }: UnitState): Output {
  const enabled = isEnabled ? 'starts with the machine' : 'does not start with the machine'
  const text = isLoaded
    ? `${WATCH_UNIT}: ${state}, ${enabled}${says === '' ? '' : `; ${says}`}\n`
    : 'the service is not installed: pipework service install\n'
  return {
    text,
    json: { ok: true, installed: isLoaded, enabled: isEnabled, active: isActive, state, says },
    exitCode: isActive ? 0 : 1,
    printWhenQuiet: true,
  }
}
