import { listClosest } from '../model/nearest'
import type { CommandTable } from './command-spec'

/** The commands that a word may mean, as typed after `pipework`: by other tools' names, else by spelling. */
export function listSuggestedCommands(word: string, { commands }: CommandTable): readonly string[] {
  if (word === 'version') return ['--version']
  const shown = commands.filter(({ hidden }) => hidden !== true)
  const find = (it: string) => shown.find((command) => command.word === it || command.otherNames?.includes(it))
  // Short words are similar to too many others.
  const others = shown.flatMap(({ otherNames = [] }) => otherNames.filter((it) => it.length > 4))
  const all = [...shown.map((command) => command.word).filter(Boolean), ...others]
  const candidates = find(word) === undefined ? listClosest(word, all).map(find) : [find(word)]
  const words = candidates.flatMap((command) => (command === undefined ? [] : [command.word]))
  return [...new Set(words)].map((it) => it || 'br1 web 192.168.1.10/24')
}
