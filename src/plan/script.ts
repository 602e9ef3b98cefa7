import { shellQuote } from '../model/shell'
import { toShell } from './shell'
import type { Plan } from './step'

/** The guest that a script runs in. */
interface ScriptGuest {
  readonly kind: string
  readonly name: string
  readonly nsPath: string
}

/** The inputs of a script: the plan, its guest, the command line, and notes for its head. */
export interface ScriptInput {
  readonly plan: Plan
  /** Absent when no step runs in a guest. */
  readonly guest?: ScriptGuest
  readonly words: readonly string[]
  readonly notes?: readonly string[]
}

/** Formats a plan as a POSIX shell script that can be run. */
export function formatScript({ plan, guest, words, notes = [] }: ScriptInput): string {
  const lines = [
    '#!/bin/sh',
    // Text after a newline, possible in U:TEXT, would run as a command.
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

/** The lines that name the guest's namespace for the script's `ip -n` commands. */
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
