import type { UplinkChange } from '../operations/uplink'
import type { UplinkRow } from '../operations/uplink/list'
import { formatScript } from '../plan/script'
import type { Plan } from '../plan/step'
import { type Output, toScriptOutput } from './output'
import { formatTable } from './report'

const stepDescriptions = ({ plan }: Pick<UplinkChange, 'plan'>) => plan.map(({ description }) => description)

/** The commands that the user should run next. */
const formatNextSteps = (next: readonly string[]) => next.map((line) => `  now: ${line}\n`).join('')

/** The script of a dry run. */
export function toUplinkScriptOutput(plan: Plan, words: readonly string[]): Output {
  const notes = ['without the watchdog that rolls back a change that cuts the host off']
  return toScriptOutput(formatScript({ plan, words: ['uplink', ...words], notes }), stepDescriptions({ plan }))
}

export function toUplinkAddedOutput(bridge: string, change: UplinkChange, elapsed: number): Output {
  const { uplink, plan, next } = change
  const changed = plan.length > 0
  const undo = `pipework uplink del ${bridge}`
  return {
    text: changed
      ? `${bridge} has the uplink ${uplink} (${Math.round(elapsed)} ms)\n${formatNextSteps(next)}  undo: ${undo}\n`
      : `${bridge} has the uplink ${uplink} already; nothing changed\n`,
    json: { ok: true, changed, bridge, uplink, steps: stepDescriptions(change), next, undo },
  }
}

export function toUplinkDeletedOutput(bridge: string, change: UplinkChange | undefined, elapsed: number): Output {
  if (change === undefined)
    return {
      text: `${bridge} has no uplink that pipework made; nothing changed\n`,
      json: { ok: true, changed: false, bridge, steps: [], next: [] },
    }
  const { uplink, next } = change
  return {
    text: `${bridge} no longer has the uplink ${uplink} (${Math.round(elapsed)} ms)\n${formatNextSteps(next)}`,
    json: { ok: true, changed: true, bridge, steps: stepDescriptions(change), next },
  }
}

export function toUplinkListOutput(uplinks: readonly UplinkRow[]): Output {
  const rows = uplinks.map(({ bridge, uplink, state, left, why }) => [
    bridge,
    uplink,
    left === undefined
      ? `${state}${why === undefined ? '' : `: ${why}`}`
      : `rolled back in ${left} s, unless confirmed`,
  ])
  return { text: formatTable(['BRIDGE', 'UPLINK', 'STATE'], rows), json: { ok: true, uplinks }, printWhenQuiet: true }
}
