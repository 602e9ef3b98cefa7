import { PipeworkError } from '../../model/errors'
import type { System } from '../../system/types'
import { type MoveContext, restoreMove, toLeftoverError, tryUplinkLock, withUplinkLock } from './run-move'
import { readUplinkState, saveUplinkState, toKeptState, type UplinkState } from './state-file'

/** Options of connecting or removing an uplink. */
export interface UplinkRunOptions extends MoveContext {
  /** Seconds in which the user must confirm the move; without it the verification is enough. */
  readonly confirm?: number
  /** Shows a text to the user. */
  readonly notify: (text: string) => void
}

/** Refuses while an earlier move of that bridge is unconfirmed. */
export function validateNotPending(bridge: string, system: System): void {
  if (readUplinkState(bridge, system)?.stage === 'pending')
    throw new PipeworkError(`the uplink of '${bridge}' waits to be confirmed`, {
      hint: `Keep it: pipework uplink confirm ${bridge}. Restore what was before: pipework uplink del ${bridge}`,
    })
}

/** Seconds between two reads of the state file. */
const POLL_INTERVAL = 0.1

/**
 * Waits without a lock until the move is confirmed.
 * @throws PipeworkError when it was rolled back instead.
 */
export async function awaitConfirmation({ bridge, takenAt }: UplinkState, run: UplinkRunOptions): Promise<void> {
  const { system, interrupt, notify, confirm } = run
  const typed = { enter: false }
  const isTerminal = await system.isTerminal(0)
  notify(
    `It works so far. ${isTerminal ? 'Press Enter, or run in a new session' : 'Run in a new session'}: pipework uplink confirm ${bridge}\nOtherwise everything is restored in ${confirm} s.\n`,
  )
  const stop = isTerminal ? await system.onInputLine(() => (typed.enter = true)) : () => {}
  try {
    for (;;) {
      const state = readUplinkState(bridge, system)
      if (state?.stage !== 'pending') return assertConfirmed(bridge, state?.takenAt === takenAt ? state : undefined)
      if (interrupt.requested && (await tryRestorePending(bridge, system)))
        throw new PipeworkError('interrupted; everything was restored')
      if (typed.enter) await confirmUplink(bridge, run)
      else await system.sleep(POLL_INTERVAL)
    }
  } finally {
    stop()
  }
}

/** A state with another time is the restored one from before the move. */
function assertConfirmed(bridge: string, state: UplinkState | undefined): void {
  if (state?.stage === 'kept' || state?.stage === 'detached') return
  throw new PipeworkError(`the uplink of '${bridge}' was not confirmed, so everything was restored`, {
    hint: 'If you were still connected: confirm in time, or allow more seconds with --confirm.',
  })
}

/**
 * Rolls back a pending move under the lock, so that only one process does it. False when another process was faster.
 */
async function tryRestorePending(bridge: string, system: System): Promise<boolean> {
  const release = await tryUplinkLock(system)
  if (release === undefined) return false
  try {
    const state = readUplinkState(bridge, system)
    if (state?.stage !== 'pending') return false
    const leftovers = await restoreMove(state, system)
    if (leftovers.length > 0) throw toLeftoverError(new PipeworkError('interrupted'), leftovers)
    return true
  } finally {
    release()
  }
}

/** Confirms a pending uplink. False when none is pending. */
export async function confirmUplink(bridge: string, context: MoveContext): Promise<boolean> {
  return withUplinkLock(context, async () => {
    const state = readUplinkState(bridge, context.system)
    if (state === undefined || state.stage === 'restored')
      throw new PipeworkError(
        state === undefined
          ? `'${bridge}' has no uplink to confirm`
          : `the uplink of '${bridge}' was removed again: ${state.error}`,
        { hint: `Add it: pipework uplink add ${bridge} ${state?.nic ?? '<nic>'} --confirm 60` },
      )
    if (state.stage !== 'pending') return false
    saveUplinkState(toKeptState(state), context.system)
    return true
  })
}
