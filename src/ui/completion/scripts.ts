import zsh from '../../../completions/_pipework?raw'
import bash from '../../../completions/pipework.bash?raw'
import fish from '../../../completions/pipework.fish?raw'

/**
 * What a shell reads to complete pipework. What can be typed stands in the command table alone: the scripts ask the
 * tool at each TAB, so they never disagree with it.
 */
export const COMPLETION_SCRIPTS = { bash, zsh, fish } as const

export type CompletionShell = keyof typeof COMPLETION_SCRIPTS
