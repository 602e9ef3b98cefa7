import { parseGuestName } from '../../model/guest-name'
import type { Guest } from '../../runtimes/find'
import { readAttachments } from '../../state/attachments'
import { formatGuest, type LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { type DetachResult, detachGuest } from '../detach'
import type { ChangeOptions } from '../types'
import { type AttachmentLine, listFileTags } from './read-files'

/** The lines of the files, and the running guests among them. */
export interface PruneInputs {
  readonly lines: readonly AttachmentLine[]
  readonly guests: readonly Guest[]
  readonly paths: readonly string[]
}

/** The result for an attachment that is no longer in the files. */
export type PruneResult = { readonly record: LinkRecord } & (
  | { readonly state: 'detached'; readonly result: DetachResult }
  | { readonly state: 'failed'; readonly error: unknown }
)

/** The records of attachments that came from these files and are no longer in any of them. */
export async function findStaleRecords(known: PruneInputs, system: System): Promise<readonly LinkRecord[]> {
  const tags = listFileTags(known.paths, system)
  const records = (await readAttachments(system)).map(({ record }) => record)
  return records.filter((it) => it.file !== undefined && tags.includes(it.file) && !isInFiles(it, known))
}

/** Whether the files still have the attachment. When in doubt, yes: a name may belong to an unreachable guest. */
function isInFiles({ guest, ifname }: LinkRecord, { lines, guests }: PruneInputs): boolean {
  const found = guests.find((it) => it.kind === guest.kind && it.name === guest.name)
  const ids = [guest.id, found?.id].filter((id) => id !== undefined)
  return lines.some(({ request }) => {
    const { kind, name } = request.guest
    const isNamed = name === guest.name || ids.some((id) => id.startsWith(name) || name.startsWith(id))
    return request.ifname === ifname && (kind === undefined || kind === guest.kind) && isNamed
  })
}

/** Detaches stale attachments one after the other; the last one also removes the bridge. A dry run only plans it. */
export async function pruneAttachments(known: PruneInputs, options: ChangeOptions): Promise<readonly PruneResult[]> {
  const pruned: PruneResult[] = []
  for (const record of await findStaleRecords(known, options.system)) {
    try {
      const { kind, name } = record.guest
      const gone = pruned.flatMap((it) =>
        it.state === 'detached' ? it.result.detached.map(({ attachment }) => attachment) : [],
      )
      // A guest can forge the record of a link inside it, so only its own attachments from these files are detached.
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

/** The name of an attachment in messages, like `web eth1`. */
export function formatAttachmentName({ guest, ifname }: LinkRecord): string {
  return `${formatGuest(guest)} ${ifname}`
}
