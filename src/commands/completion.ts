import { PipeworkError, refuseSurplus, usageError } from '../model/errors'
import type { Plan } from '../plan/step'
import type { Host } from '../system/types'
import type { Call, Outcome } from '../ui/command'
import { SCRIPTS, type Shell } from '../ui/completion/scripts'
import { toScript } from '../ui/report'

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish']

const isShell = (word: string): word is Shell => word in SCRIPTS

/** Prints a shell's completion, or puts those of the installed shells where they look for it. */
export async function run(call: Call): Promise<Outcome> {
  const [word, ...rest] = call.words
  const usage = 'pipework completion bash|zsh|fish, or: pipework completion install'
  if (word === undefined) throw usageError('completion: for which shell?', usage)
  refuseSurplus(rest, usage)
  if (word === 'install') return install(call)
  if (!isShell(word)) throw usageError(`there is no completion for '${word}'`, usage)
  return { text: SCRIPTS[word], json: { ok: true, shell: word, script: SCRIPTS[word] }, wanted: true }
}

/** A completion's file, and what else its reader has to do. */
interface Place {
  readonly shell: Shell
  readonly path: string
  readonly note?: string
}

/** Where the administrator's own completions belong: the distribution's folders are for its packages. */
const SYSTEM: Readonly<Record<Shell, string>> = {
  bash: '/usr/local/share/bash-completion/completions/pipework',
  zsh: '/usr/local/share/zsh/site-functions/_pipework',
  fish: '/etc/fish/completions/pipework.fish',
}

function userPlaces({ env, read }: Host): Readonly<Record<Shell, Omit<Place, 'shell'>>> {
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

function findPlaces({ host, flag }: Call): readonly Place[] {
  const shells = SHELLS.filter((shell) => host.has(shell))
  if (shells.length === 0)
    throw new PipeworkError(`none of ${SHELLS.join(', ')} is installed`, {
      hint: 'Print what you need, and put it where your shell looks: pipework completion bash',
    })
  if (host.isRoot && !flag('user')) return shells.map((shell) => ({ shell, path: SYSTEM[shell] }))
  const places = userPlaces(host)
  return shells.map((shell) => ({ shell, ...places[shell] }))
}

/** The text as `save` writes it: that ends the last line itself. */
const textOf = (shell: Shell) => SCRIPTS[shell].trimEnd()

async function install(call: Call): Promise<Outcome> {
  const { host } = call
  const places = findPlaces(call)
  const missing = places.filter(({ shell, path }) => host.read(path) !== textOf(shell))
  const plan: Plan = missing.map(({ shell, path }) => ({
    why: `write the completion for ${shell}`,
    command: { kind: 'file', in: 'host', path, text: textOf(shell) },
  }))
  if (call.flag('dry-run')) {
    const script = toScript({ plan, words: ['completion', 'install'] })
    return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
  }
  for (const place of missing) write(place, host)
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

function write({ shell, path }: Place, host: Host): void {
  try {
    host.save(path, textOf(shell), 'everybody')
  } catch (cause) {
    throw new PipeworkError(`the completion for ${shell} cannot be written to '${path}': ${(cause as Error).message}`, {
      hint: `Put it where you may write: pipework completion ${shell} > FILE`,
      cause,
    })
  }
}
