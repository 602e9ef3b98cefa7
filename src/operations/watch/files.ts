import { type PipeworkError, usageError } from '../../model/errors'
import type { System } from '../../system/types'
import { formatLocation, type ReadOptions, readAttachmentFiles } from '../up/read-files'
import type { DesiredAttachment } from './labels'

/** The default directory of attachment files. */
const DEFAULT_WATCH_DIR = '/etc/pipework'

/** Lists the named files; for a directory, its `*.pipework` files. */
export function listWatchedFiles(words: readonly string[], system: System): readonly string[] {
  const paths = words.length === 0 ? [DEFAULT_WATCH_DIR] : words
  return paths.flatMap((path) => {
    const names = system.list(path)
    if (names === undefined) return words.length === 0 ? [] : [path]
    const ours = names.filter((name) => name.endsWith('.pipework')).sort()
    return ours.map((name) => `${path.replace(/\/$/, '')}/${name}`)
  })
}

/** Reads all lines of all files. Throws one error that lists every mistake. */
export async function readWatchedFiles(
  files: readonly string[],
  options: ReadOptions,
): Promise<readonly DesiredAttachment[]> {
  if (files.length === 0) return []
  const lines = await readAttachmentFiles(files, options)
  return lines.map(({ request, path, lineNumber }) => ({
    request,
    source: formatLocation({ path, lineNumber }),
  }))
}

/** The error when neither files nor labels request anything. */
export function nothingToWatchError(paths: readonly string[]): PipeworkError {
  return usageError(
    paths.length === 0 ? 'there is nothing to watch' : `there is no file in '${paths.join("', '")}'`,
    'Name a file, put one into /etc/pipework (its name ends in .pipework), or read labels: --labels.',
  )
}
