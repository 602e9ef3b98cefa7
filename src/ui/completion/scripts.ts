import zsh from '../../../completions/_pipework?raw'
import bash from '../../../completions/pipework.bash?raw'
import fish from '../../../completions/pipework.fish?raw'

/**
 * What a shell reads to complete pipework. The scripts ask the tool at each TAB, so they never disagree with the
 * command modules.
 */
export const COMPLETION_SCRIPTS = { bash, zsh, fish } as const

export type CompletionShell = keyof typeof COMPLETION_SCRIPTS

export const isCompletionShell = (word: string): word is CompletionShell => Object.hasOwn(COMPLETION_SCRIPTS, word)
