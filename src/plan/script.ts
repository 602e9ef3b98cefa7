import { shellQuote } from '../model/shell'
import { toShell } from './shell'
import type { Plan } from './step'

/** The guest that a script enters. */
interface ScriptGuest {
  readonly kind: string
  readonly name: string
  readonly nsPath: string
}

/** What a script is written from: the plan, its guest, the words that asked for it, and remarks for its head. */
export interface ScriptInput {
  readonly plan: Plan
  /** Absent when no step runs inside one. */
  readonly guest?: ScriptGuest
  readonly words: readonly string[]
  readonly notes?: readonly string[]
}

/** A plan as a POSIX shell script that does the same, runnable as it is. */
export function formatScript({ plan, guest, words, notes = [] }: ScriptInput): string {
  const lines = [
    '#!/bin/sh',
    // Behind a newline, as the text of U:TEXT may have, it would be a command.
    `# ${['pipework', ...words].map(shellQuote).join(' ').replaceAll('\n', '\n# ')}`,
    ...notes.map((note) => `# ${note}`),
    'set -eu',
    ...(plan.length === 0 ? ['# nothing to do'] : formatScriptBody(plan, guest)),
  ]
  return `${lines.join('\n')}\n`
}

function formatScriptBody(plan: Plan, guest: ScriptGuest | undefined): readonly string[] {
  return [...(guest === undefined ? [] : formatNetnsPreamble(guest)), ...plan.flatMap(formatStepLines)]
}

/** The lines that give the guest's namespace the name by which a script's commands call it. */
export function formatNetnsPreamble({ kind, name, nsPath }: ScriptGuest): readonly string[] {
  return [
    '',
    `# give the network namespace of ${kind}:${name} a name for ip -n`,
    'netns=pipework-script-$$',
    'mkdir -p /run/netns',
    `ln -s ${shellQuote(nsPath)} "/run/netns/$netns"`,
    'trap \'rm -f "/run/netns/$netns"\' EXIT',
  ]
}

function formatStepLines({ description, command }: Plan[number]): readonly string[] {
  return ['', `# ${description}`, toShell(command)]
}

/** A step as --verbose shows it: the reason, then the command. */
export function formatStep(step: Plan[number]): string {
  return `${formatStepLines(step).slice(1).join('\n')}\n`
}
