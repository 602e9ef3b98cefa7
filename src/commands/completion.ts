import { PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { formatScript } from '../plan/script'
import type { Plan } from '../plan/step'
import type { System } from '../system/types'
import type { CommandContext, CommandOutcome } from '../ui/command'
import { COMPLETION_SCRIPTS, type CompletionShell } from '../ui/completion/scripts'

const SHELLS: readonly CompletionShell[] = ['bash', 'zsh', 'fish']

const isShell = (word: string): word is CompletionShell => word in COMPLETION_SCRIPTS

/** Prints a shell's completion, or puts those of the installed shells where they look for it. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const [word, ...rest] = call.positionals
  const usage = 'pipework completion bash|zsh|fish, or: pipework completion install'
  if (word === undefined) throw usageError('completion: for which shell?', usage)
  validateNoExtraArgs(rest, usage)
  if (word === 'install') return installCompletions(call)
  if (!isShell(word)) throw usageError(`there is no completion for '${word}'`, usage)
  return {
    text: COMPLETION_SCRIPTS[word],
    json: { ok: true, shell: word, script: COMPLETION_SCRIPTS[word] },
    printWhenQuiet: true,
  }
}

/** A completion's file, and what else its reader has to do. */
interface CompletionFile {
  readonly shell: CompletionShell
  readonly path: string
  readonly note?: string
}

/** Where the administrator's own completions belong: the distribution's folders are for its packages. */
const SYSTEM_PATHS: Readonly<Record<CompletionShell, string>> = {
  bash: '/usr/local/share/bash-completion/completions/pipework',
  zsh: '/usr/local/share/zsh/site-functions/_pipework',
  fish: '/etc/fish/completions/pipework.fish',
}

function userCompletionFiles({ env, read }: System): Readonly<Record<CompletionShell, Omit<CompletionFile, 'shell'>>> {
  const { HOME, XDG_DATA_HOME, XDG_CONFIG_HOME, BASH_COMPLETION_USER_DIR, ZDOTDIR } = env
  if (!HOME)
    throw new PipeworkError('HOME is not set, so it is unknown where your shells look for completions', {
      hint: 'Set it, or install for all users: sudo pipework completion install',
    })
  const data = BASH_COMPLETION_USER_DIR || `${XDG_DATA_HOME || `${HOME}/.local/share`}/bash-completion`
  const zsh = `${ZDOTDIR || HOME}/.zfunc`
  const isKnown = read(`${ZDOTDIR || HOME}/.zshrc`)?.includes('.zfunc') === true
  const note = `zsh looks there when ~/.zshrc has, before compinit: fpath+=(${zsh})`
  return {
    bash: { path: `${data}/completions/pipework` },
    zsh: { path: `${zsh}/_pipework`, note: isKnown ? undefined : note },
    fish: { path: `${XDG_CONFIG_HOME || `${HOME}/.config`}/fish/completions/pipework.fish` },
  }
}

function findCompletionFiles({ system, hasFlag }: CommandContext): readonly CompletionFile[] {
  const shells = SHELLS.filter((shell) => system.hasProgram(shell))
  if (shells.length === 0)
    throw new PipeworkError(`none of ${SHELLS.join(', ')} is installed`, {
      hint: 'Print what you need, and put it where your shell looks: pipework completion bash',
    })
  if (system.isRoot && !hasFlag('user')) return shells.map((shell) => ({ shell, path: SYSTEM_PATHS[shell] }))
  const places = userCompletionFiles(system)
  return shells.map((shell) => ({ shell, ...places[shell] }))
}

/** The text as `save` writes it: that ends the last line itself. */
const completionText = (shell: CompletionShell) => COMPLETION_SCRIPTS[shell].trimEnd()

async function installCompletions(call: CommandContext): Promise<CommandOutcome> {
  const { system } = call
  const places = findCompletionFiles(call)
  const missing = places.filter(({ shell, path }) => system.read(path) !== completionText(shell))
  const plan: Plan = missing.map(({ shell, path }) => ({
    description: `write the completion for ${shell}`,
    command: { kind: 'file', in: 'host', path, text: completionText(shell) },
  }))
  if (call.hasFlag('dry-run')) {
    const script = formatScript({ plan, words: ['completion', 'install'] })
    return {
      text: script,
      json: { ok: true, dryRun: true, steps: plan.map(({ description }) => description), script },
      printWhenQuiet: true,
    }
  }
  for (const place of missing) writeCompletion(place, system)
  const lines = places.flatMap((place) => [
    `${place.shell}: ${place.path}${missing.includes(place) ? '' : ' already'}`,
    ...(place.note === undefined ? [] : [`  ${place.note}`]),
  ])
  return {
    text: [...lines, ...(missing.length > 0 ? ['A shell that is started from now on completes pipework.'] : [])]
      .map((line) => `${line}\n`)
      .join(''),
    json: { ok: true, changed: missing.length > 0, files: places },
  }
}

function writeCompletion({ shell, path }: CompletionFile, system: System): void {
  try {
    system.writeFile(path, completionText(shell), 'everybody')
  } catch (cause) {
    throw new PipeworkError(`the completion for ${shell} cannot be written to '${path}': ${(cause as Error).message}`, {
      hint: `Put it where you may write: pipework completion ${shell} > FILE`,
      cause,
    })
  }
}
