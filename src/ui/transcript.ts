import { formatNetnsPreamble, formatStep } from '../plan/script'
import type { Step } from '../plan/step'
import type { Guest } from '../runtimes/find'

/** What --verbose tells of one guest: a block that does the same in any shell it is copied into. */
export interface Transcript {
  /** Hears of a step before it runs. */
  readonly onStep: (step: Step) => void
  /** Hears that the last so many steps were taken back, to be planned anew. */
  readonly onTakenBack: (count: number) => void
  /** Ends the block. */
  readonly end: () => void
}

/** Whether steps are told before they run, or all of them when the guest is done: it may not be the only one. */
type TranscriptMode = 'live' | 'whole'

// A subshell: what it sets ends with it, and a question that fails does not end the shell of who copies it.
const OPENING = '(\nset -eu\n'
const CLOSING = ')\n'

/** A transcript for each guest. */
export function createTranscripts(tell: (text: string) => void, manner: TranscriptMode): (guest: Guest) => Transcript {
  return (guest) => (manner === 'live' ? createLiveTranscript(guest, tell) : createBufferedTranscript(guest, tell))
}

const usesNetns = (step: Step) => formatStep(step).includes('$netns')

const formatNetnsSetup = (guest: Guest) => `${formatNetnsPreamble(guest).slice(1).join('\n')}\n`

function createLiveTranscript(guest: Guest, tell: (text: string) => void): Transcript {
  const told = { any: false, netns: false }
  return {
    onStep: (step) => {
      const isFirstInside = !told.netns && usesNetns(step)
      tell(`${told.any ? '' : OPENING}${isFirstInside ? formatNetnsSetup(guest) : ''}${formatStep(step)}`)
      told.any = true
      told.netns ||= isFirstInside
    },
    onTakenBack: (count) => tell(`# the host has changed meanwhile: the last ${count} steps are taken back\n`),
    end: () => told.any && tell(CLOSING),
  }
}

function createBufferedTranscript(guest: Guest, tell: (text: string) => void): Transcript {
  const steps: Step[] = []
  return {
    onStep: (step) => steps.push(step),
    onTakenBack: (count) => steps.splice(steps.length - count, count),
    end: () => {
      if (steps.length === 0) return
      tell([OPENING, steps.some(usesNetns) ? formatNetnsSetup(guest) : '', ...steps.map(formatStep), CLOSING].join(''))
    },
  }
}
