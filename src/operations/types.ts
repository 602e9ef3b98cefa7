import type { Step } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { Interrupt, System } from '../system/types'

/** Hears of the steps of one guest. */
export interface Transcript {
  /** Called before a step runs. */
  readonly onStep: (step: Step) => void
  /** Called when the last so many steps were rolled back, to be planned again. */
  readonly onTakenBack: (count: number) => void
  readonly end: () => void
}

/** What an operation that changes something is given. */
export interface ChangeOptions {
  readonly system: System
  readonly interrupt: Interrupt
  /** Plan, and change nothing. */
  readonly dryRun: boolean
  /** Opens a transcript of the steps of a guest; absent without --verbose. */
  readonly openTranscript?: (guest: Guest) => Transcript
  /** Called before each step that belongs to no guest. */
  readonly onStep?: (step: Step) => void
}
