import type { System } from '../../system/types'
import type { CommandContext } from '../../ui/command'
import { formatLocation, readAttachmentFiles } from '../up/read-files'
import type { DesiredAttachment } from './labels'

/** Where the files are that are watched when none is named. */
const DEFAULT_WATCH_DIR = '/etc/pipework'

/** The files that the words name; of a directory those in it that end in `.pipework`. */
export function listWatchedFiles(words: readonly string[], system: System): readonly string[] {
  const paths = words.length === 0 ? [DEFAULT_WATCH_DIR] : words
  return paths.flatMap((path) => {
    const names = system.list(path)
    if (names === undefined) return words.length === 0 ? [] : [path]
    const ours = names.filter((name) => name.endsWith('.pipework')).sort()
    return ours.map((name) => `${path.replace(/\/$/, '')}/${name}`)
  })
}

/** All lines of all files. Throws one error with every mistake in them. */
export async function readWatchedFiles(
  files: readonly string[],
  call: CommandContext,
): Promise<readonly DesiredAttachment[]> {
  if (files.length === 0) return []
  const wishes = await readAttachmentFiles({ ...call, positionals: files })
  return wishes.map(({ request, path, lineNumber }) => ({
    request,
    source: formatLocation({ path, lineNumber }),
  }))
}
