import type { Host } from '../../system/types'
import type { Call } from '../../ui/command'
import { placeOf, readFiles } from '../up/read-files'
import type { Wish } from './labels'

/** Where the files are that are watched when none is named. */
const DEFAULT_DIRECTORY = '/etc/pipework'

/** The files that the words name; of a directory those in it that end in `.pipework`. */
export function listFiles(words: readonly string[], host: Host): readonly string[] {
  const paths = words.length === 0 ? [DEFAULT_DIRECTORY] : words
  return paths.flatMap((path) => {
    const names = host.list(path)
    if (names === undefined) return words.length === 0 ? [] : [path]
    const ours = names.filter((name) => name.endsWith('.pipework')).sort()
    return ours.map((name) => `${path.replace(/\/$/, '')}/${name}`)
  })
}

/** All lines of all files. Throws one error with every mistake in them. */
export async function readBook(files: readonly string[], call: Call): Promise<readonly Wish[]> {
  if (files.length === 0) return []
  const wishes = await readFiles({ ...call, words: files })
  return wishes.map(({ request, path, line }) => ({ request, where: placeOf({ path, line }) }))
}
