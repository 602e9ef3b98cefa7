import { parseSeconds } from '../model/number'
import type { UplinkRunOptions } from '../operations/uplink/confirm'
import { formatStep } from '../plan/script'
import type { CommandContext } from '../ui/command'

/** Seconds that somebody at a terminal has to say that it works. */
const TERMINAL_CONFIRM_SECONDS = 60

/** How long to wait for somebody to confirm: as asked for, or where somebody sits there to be asked. */
export async function toUplinkRunOptions({
  system,
  io,
  hasFlag,
  stringOption,
}: CommandContext): Promise<UplinkRunOptions> {
  const typed = stringOption('confirm')
  const isWatched =
    !hasFlag('quiet') && !hasFlag('json') && (await system.isTerminal(0)) && (await system.isTerminal(2))
  const seconds = typed === undefined ? (isWatched ? TERMINAL_CONFIRM_SECONDS : 0) : parseSeconds(typed, '--confirm')
  return {
    system,
    interrupt: io.interrupt,
    confirm: seconds === 0 ? undefined : seconds,
    notify: (line) => io.err(line),
    onStep: hasFlag('verbose') ? (step) => io.err(formatStep(step)) : undefined,
  }
}
