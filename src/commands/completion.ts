import { usageError, validateNoExtraArgs } from '../model/errors'
import type { Plan } from '../plan/step'
import { defineCommand } from './types'

const USAGE = 'pipework completion bash|zsh|fish\npipework completion install'

/** `pipework completion`: print a shell's completion, or install it. */
export const completion = defineCommand({
  command: 'completion <shell> [words..]',
  describe: 'print the completion of a shell, or install it for the shells of this host',
  otherNames: ['completions', 'complete'],
  synopsis: 'completion bash|zsh|fish | completion install',
  builder: {
    user: { type: 'boolean', describe: 'install for this user only, even as root' },
    'dry-run': { type: 'boolean', alias: 'n', describe: 'print a shell script that does the same, and write nothing' },
    quiet: { type: 'boolean', alias: 'q', describe: 'print nothing on success' },
  },
  examples: [
    { line: 'pipework completion install', does: 'for all users with sudo, else for you; prints where' },
    { line: 'pipework completion bash', does: 'print it; to try it out: source <(pipework completion bash)' },
    { line: 'pipework --dry-run completion install', does: 'what would be written, and where' },
  ],
  handler: async (argv, { system }) => {
    const [shell = '', ...rest] = argv.words
    validateNoExtraArgs(rest, USAGE)
    const { COMPLETION_SCRIPTS, isCompletionShell } = await import('../ui/completion/scripts')
    if (isCompletionShell(shell)) {
      const script = COMPLETION_SCRIPTS[shell]
      return { text: script, json: { ok: true, shell, script }, printWhenQuiet: true }
    }
    if (shell !== 'install') throw usageError(`there is no completion for '${shell}'`, USAGE)
    const { completionText, findCompletionFiles, writeCompletion } = await import('../ui/completion/install')
    const files = findCompletionFiles(system, argv.user === true)
    const missing = files.filter(({ shell, path }) => system.read(path) !== completionText(shell))
    if (argv.dryRun)
      return toInstallScript(missing.map(({ shell, path }) => ({ shell, path, text: completionText(shell) })))
    for (const file of missing) writeCompletion(file, system)
    const lines = files.flatMap((file) => [
      `${file.shell}: ${file.path}${missing.includes(file) ? '' : ' already'}`,
      ...(file.note === undefined ? [] : [`  ${file.note}`]),
    ])
    const next = missing.length > 0 ? ['A new shell completes pipework.'] : []
    return {
      text: [...lines, ...next].map((line) => `${line}\n`).join(''),
      json: { ok: true, changed: missing.length > 0, files },
    }
  },
})

async function toInstallScript(
  files: readonly { readonly shell: string; readonly path: string; readonly text: string }[],
) {
  const [{ formatScript }, { toScriptOutput }] = await Promise.all([import('../plan/script'), import('../ui/output')])
  const plan: Plan = files.map(({ shell, path, text }) => ({
    description: `write the completion for ${shell}`,
    command: { kind: 'file', in: 'host', path, text },
  }))
  return toScriptOutput(
    formatScript({ plan, words: ['completion', 'install'] }),
    plan.map(({ description }) => description),
  )
}
