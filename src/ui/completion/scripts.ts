import zsh from '../../../completions/_pipework?raw'
import bash from '../../../completions/pipework.bash?raw'
import fish from '../../../completions/pipework.fish?raw'

/** The completion scripts of the shells. They call pipework at each TAB, so they always match the command modules. */
export const COMPLETION_SCRIPTS = { bash, zsh, fish } as const

export type CompletionShell = keyof typeof COMPLETION_SCRIPTS

export const isCompletionShell = (word: string): word is CompletionShell => Object.hasOwn(COMPLETION_SCRIPTS, word)
