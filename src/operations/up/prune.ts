import { parseGuestName } from '../../model/guest-name'
import type { Guest } from '../../runtimes/find'
import { readAttachments } from '../../state/attachments'
import { formatGuest, type LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { type DetachResult, detachGuest } from '../detach'
import type { ChangeOptions } from '../types'
import { type AttachmentLine, listFileTags } from './read-files'

/** What the files have, and the guests among it that were found. */
export interface PruneInputs {
  readonly lines: readonly AttachmentLine[]
  readonly guests: readonly Guest[]
  /** The files. */
  readonly paths: readonly string[]
}

/** What came of an attachment that the files no longer have. */
export type PruneResult = { readonly record: LinkRecord } & (
  | { readonly state: 'detached'; readonly result: DetachResult }
  | { readonly state: 'failed'; readonly error: unknown }
)

/** The records of what was made from these files, and is in none of them any more. */
export async function findStaleRecords(known: PruneInputs, system: System): Promise<readonly LinkRecord[]> {
  const tags = listFileTags(known.paths, system)
  const records = (await readAttachments(system)).map(({ record }) => record)
  return records.filter((it) => it.file !== undefined && tags.includes(it.file) && !isInFiles(it, known))
}

/** In doubt it is: a name in a file may be that of a guest that cannot be asked now. */
function isInFiles({ guest, ifname }: LinkRecord, { lines, guests }: PruneInputs): boolean {
  const found = guests.find((it) => it.kind === guest.kind && it.name === guest.name)
  const ids = [guest.id, found?.id].filter((id) => id !== undefined)
  return lines.some(({ request }) => {
    const { kind, name } = request.guest
    const isNamed = name === guest.name || ids.some((id) => id.startsWith(name) || name.startsWith(id))
    return request.ifname === ifname && (kind === undefined || kind === guest.kind) && isNamed
  })
}

/** Takes it away, one after the other: with the last of them goes the bridge. On a dry run only plans it. */
export async function pruneAttachments(known: PruneInputs, options: ChangeOptions): Promise<readonly PruneResult[]> {
  const pruned: PruneResult[] = []
  for (const record of await findStaleRecords(known, options.system)) {
    try {
      const { kind, name } = record.guest
      const gone = pruned.flatMap((it) =>
        it.state === 'detached' ? it.result.detached.map(({ attachment }) => attachment) : [],
      )
      // A guest may write what it likes on a link of its own: what goes is what its own guest has, from these files.
      const result = await detachGuest(
        {
          guestName: parseGuestName(`${kind}:${name}`),
          ifnames: [record.ifname],
          files: listFileTags(known.paths, options.system),
          gone: options.dryRun ? gone : undefined,
        },
        options,
      )
      if (result.detached.length > 0) pruned.push({ record, state: 'detached', result })
    } catch (error) {
      pruned.push({ record, state: 'failed', error })
    }
  }
  return pruned
}

/** `web eth1`: what an attachment is called in a sentence. */
export function formatAttachmentName({ guest, ifname }: LinkRecord): string {
  return `${formatGuest(guest)} ${ifname}`
}
