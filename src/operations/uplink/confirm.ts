import { PipeworkError } from '../../model/errors'
import { readUptime } from '../../state/host'
import { type MoveContext, restoreMove, toLeftoverError, withUplinkLock } from './run-move'
import { readUplinkState, saveUplinkState, type UplinkState } from './state-file'

/** What an uplink is made or taken away with. */
export interface UplinkRunOptions extends MoveContext {
  /** Seconds in which somebody must confirm the move; without, its proof does. */
  readonly confirm?: number
  /** Tells what is awaited, where somebody reads it. */
  readonly notify: (text: string) => void
}

/** Refuses while an earlier move of that bridge waits. */
export function validateNotPending(bridge: string, { system }: MoveContext): void {
  if (readUplinkState(bridge, system)?.stage === 'pending')
    throw new PipeworkError(`the uplink of '${bridge}' waits to be confirmed`, {
      hint: `Keep it: pipework uplink confirm ${bridge}. Put it back: pipework uplink del ${bridge}`,
    })
}

/** The move is proven: it is kept, or waits for somebody to say so. */
export function markKept(journal: UplinkState, { system, confirm }: UplinkRunOptions): void {
  saveUplinkState(
    confirm === undefined
      ? { ...journal, stage: 'kept' }
      : { ...journal, stage: 'pending', deadline: readUptime(system) + confirm },
    system,
  )
}

/** Seconds between two looks whether it is confirmed. */
const POLL_INTERVAL = 0.1

/** Returns when it is confirmed; throws when it was put back. */
export async function awaitConfirmation(bridge: string, connector: UplinkRunOptions): Promise<void> {
  const { system, interrupt, notify, confirm } = connector
  const typed = { enter: false }
  const isTerminal = await system.isTerminal(0)
  notify(
    `It works so far. ${isTerminal ? 'Press Enter, or type in a new session' : 'Type in a new session'}: pipework uplink confirm ${bridge}\nElse all is put back in ${confirm} s.\n`,
  )
  const stop = isTerminal ? await system.onInputLine(() => (typed.enter = true)) : () => {}
  try {
    for (;;) {
      const journal = readUplinkState(bridge, system)
      if (journal?.stage !== 'pending') return validateNotRestored(journal, bridge)
      if (interrupt.requested) return await restoreInterrupted(journal, connector)
      if (typed.enter) await confirmUplink(bridge, connector)
      else await system.sleep(POLL_INTERVAL)
    }
  } finally {
    stop()
  }
}

function validateNotRestored(journal: UplinkState | undefined, bridge: string): void {
  if (journal?.stage === 'kept' || journal?.stage === 'left') return
  throw new PipeworkError(`nobody confirmed the uplink of '${bridge}', so all was put back as it was`, {
    hint: 'If you were still connected: press Enter in time, or give it more of that with --confirm.',
  })
}

async function restoreInterrupted(journal: UplinkState, { system }: MoveContext): Promise<never> {
  // Not by withLock, which an interrupted run would not wait for.
  throw toLeftoverError(new PipeworkError('interrupted, and put back as it was'), await restoreMove(journal, system))
}

/** Keeps an uplink that waits for it. False when there was nothing to confirm. */
export async function confirmUplink(bridge: string, carrier: MoveContext): Promise<boolean> {
  return withUplinkLock(carrier, async () => {
    const journal = readUplinkState(bridge, carrier.system)
    if (journal?.stage === 'restored' || journal === undefined)
      throw new PipeworkError(
        journal === undefined
          ? `'${bridge}' has no uplink that could be confirmed`
          : `the uplink of '${bridge}' was put back: ${journal.why}`,
        { hint: `Make it: pipework uplink add ${bridge} ${journal?.nic ?? '<nic>'} --confirm 60` },
      )
    if (journal.stage !== 'pending') return false
    const { deadline, ...rest } = journal
    if (journal.way === 'in') saveUplinkState({ ...rest, stage: 'kept' }, carrier.system)
    else saveUplinkState({ ...rest, stage: 'left' }, carrier.system)
    return true
  })
}
