import type { Step } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { Interrupt, System } from '../system/types'

/** Receives the steps of one guest. */
export interface Transcript {
  readonly onStep: (step: Step) => void
  /** Called when the last `count` steps were rolled back before another plan. */
  readonly onTakenBack: (count: number) => void
  readonly end: () => void
}

/** Options of every operation that changes something. */
export interface ChangeOptions {
  readonly system: System
  readonly interrupt: Interrupt
  /** Plan only. */
  readonly dryRun: boolean
  /** Opens a transcript of the steps of a guest; absent without --verbose. */
  readonly openTranscript?: (guest: Guest) => Transcript
  /** Called before each step that concerns no guest. */
  readonly onStep?: (step: Step) => void
}
