import { PipeworkError } from '../../model/errors'
import type { System } from '../../system/types'
import { COMPLETION_SCRIPTS, type CompletionShell } from './scripts'

const SHELLS: readonly CompletionShell[] = ['bash', 'zsh', 'fish']

/** A completion file, and what else the user has to do. */
export interface CompletionFile {
  readonly shell: CompletionShell
  readonly path: string
  readonly note?: string
}

/** The directories for the administrator's own completions: the distribution's are for packages. */
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

/** The completion files for the installed shells. Throws when there is no directory for them. */
export function findCompletionFiles(system: System, userOnly: boolean): readonly CompletionFile[] {
  const shells = SHELLS.filter((shell) => system.hasProgram(shell))
  if (shells.length === 0)
    throw new PipeworkError(`none of ${SHELLS.join(', ')} is installed`, {
      hint: 'Print what you need, and put it where your shell looks: pipework completion bash',
    })
  if (system.isRoot && !userOnly) return shells.map((shell) => ({ shell, path: SYSTEM_PATHS[shell] }))
  const places = userCompletionFiles(system)
  return shells.map((shell) => ({ shell, ...places[shell] }))
}

/** System.writeFile() adds the last newline itself. */
export const completionText = (shell: CompletionShell) => COMPLETION_SCRIPTS[shell].trimEnd()

export function writeCompletion({ shell, path }: CompletionFile, system: System): void {
  try {
    system.writeFile(path, completionText(shell), 'everybody')
  } catch (cause) {
    throw new PipeworkError((cause as Error).message, {
      hint: `Put it where you may write: pipework completion ${shell} > FILE`,
      cause,
    })
  }
}
