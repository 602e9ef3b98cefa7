import { listClosest } from '../model/nearest'
import type { CommandTable } from './command'

/** What follows `pipework` in the commands that a word may have meant: what other tools call so, else what is spelt nearly so. */
export function listSuggestedCommands(word: string, { commands }: CommandTable): readonly string[] {
  if (word === 'version') return ['--version']
  const shown = commands.filter(({ hidden }) => hidden !== true)
  const find = (it: string) => shown.find((command) => command.word === it || command.aliases?.includes(it))
  // Of short words every other is a near one.
  const others = shown.flatMap(({ aliases = [] }) => aliases.filter((it) => it.length > 4))
  const all = [...shown.map((command) => command.word).filter(Boolean), ...others]
  const meant = find(word) === undefined ? listClosest(word, all).map(find) : [find(word)]
  const words = meant.flatMap((command) => (command === undefined ? [] : [command.word]))
  return [...new Set(words)].map((it) => it || 'br1 web 192.168.1.10/24')
}
