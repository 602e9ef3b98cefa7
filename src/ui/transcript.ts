import type { Transcript } from '../operations/types'
import { formatNetnsPreamble, formatStep } from '../plan/script'
import type { Step } from '../plan/step'
import type { Guest } from '../runtimes/find'

/**
 * `live` prints steps before they run; `whole` prints a guest's steps when it is done, because others run in parallel.
 */
type TranscriptMode = 'live' | 'whole'

// A subshell: `set -eu` must not end the shell that this is pasted into.
const OPENING = '(\nset -eu\n'
const CLOSING = ')\n'

/** A transcript for each guest: a shell block that does the same. */
export function createTranscripts(print: (text: string) => void, mode: TranscriptMode): (guest: Guest) => Transcript {
  return (guest) => (mode === 'live' ? createLiveTranscript(guest, print) : createBufferedTranscript(guest, print))
}

const usesNetns = (step: Step) => formatStep(step).includes('$netns')

const formatNetnsSetup = (guest: Guest) => `${formatNetnsPreamble(guest).slice(1).join('\n')}\n`

function createLiveTranscript(guest: Guest, print: (text: string) => void): Transcript {
  const printed = { any: false, netns: false }
  return {
    onStep: (step) => {
      const isFirstInside = !printed.netns && usesNetns(step)
      print(`${printed.any ? '' : OPENING}${isFirstInside ? formatNetnsSetup(guest) : ''}${formatStep(step)}`)
      printed.any = true
      printed.netns ||= isFirstInside
    },
    onTakenBack: (count) => print(`# the host has changed: the last ${count} steps are rolled back\n`),
    end: () => printed.any && print(CLOSING),
  }
}

function createBufferedTranscript(guest: Guest, print: (text: string) => void): Transcript {
  const steps: Step[] = []
  return {
    onStep: (step) => steps.push(step),
    onTakenBack: (count) => steps.splice(steps.length - count, count),
    end: () => {
      if (steps.length === 0) return
      print([OPENING, steps.some(usesNetns) ? formatNetnsSetup(guest) : '', ...steps.map(formatStep), CLOSING].join(''))
    },
  }
}
