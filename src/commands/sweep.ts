import { execute } from '../execute'
import { MARKER } from '../outside/wish'
import { formatStep, toScript } from '../report'
import type { Plan } from '../step'
import type { Call, Outcome } from './call'

/** Stands for guests that have ended: nothing of this runs in one. */
const NOBODY = { kind: 'docker', name: 'nobody', nsPath: '/proc/self/ns/net' } as const

/** Takes away what the host still has for guests that have ended; undefined when there is no such thing. */
export async function sweep(call: Call): Promise<Outcome | undefined> {
  const { host, io } = call
  if (!host.isRoot || host.read(MARKER) === undefined) return undefined
  const [{ planSweep }, { lockShared }] = await Promise.all([import('../outside/plan'), import('../locks')])
  const release = await lockShared({ host, interrupt: io.interrupt })
  try {
    const plan = await planSweep(host)
    if (plan.length === 0) return undefined
    if (call.flag('dry-run')) return toScriptOutcome(plan, call)
    const onStep = call.flag('verbose') ? { onStep: (step: Plan[number]) => io.err(formatStep(step)) } : {}
    await execute(plan, { host, guest: NOBODY, netns: '', interrupt: io.interrupt, ...onStep })
    return toOutcome(plan)
  } finally {
    release()
  }
}

function toScriptOutcome(plan: Plan, call: Call): Outcome {
  const script = toScript({ plan, words: ['disconnect', ...call.words] })
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

function toOutcome(plan: Plan): Outcome {
  const steps = plan.map(({ why }) => why)
  const lines = ['what this host had for guests that have ended is gone:', ...steps.map((step) => `  ${step}`)]
  return {
    text: lines.map((line) => `${line}\n`).join(''),
    json: { ok: true, changed: true, detached: [], steps },
  }
}
