import { detach, type Taken } from '../../commands/disconnect'
import { parseGuest } from '../../model/guest-name'
import type { Guest } from '../../runtimes/find'
import { readAttachments } from '../../state/attachments'
import { formatGuest, type LinkRecord } from '../../state/record'
import type { Call } from '../../ui/command'
import { listTags, type Wish } from './read-files'

/** What the files have, and the guests among it that were found. */
export interface Known {
  readonly wishes: readonly Wish[]
  readonly guests: readonly Guest[]
}

/** What came of an attachment that the files no longer have. */
export type Pruned = { readonly record: LinkRecord } & (
  | { readonly state: 'detached'; readonly taken: Taken }
  | { readonly state: 'failed'; readonly why: unknown }
)

/** The records of what was made from these files, and is in none of them any more. */
export async function listSurplus(known: Known, call: Call): Promise<readonly LinkRecord[]> {
  const tags = listTags(call)
  const records = (await readAttachments(call.host)).map(({ record }) => record)
  return records.filter((it) => it.file !== undefined && tags.includes(it.file) && !isWished(it, known))
}

/** In doubt it is: a name in a file may be that of a guest that cannot be asked now. */
function isWished({ guest, ifname }: LinkRecord, { wishes, guests }: Known): boolean {
  const found = guests.find((it) => it.kind === guest.kind && it.name === guest.name)
  const ids = [guest.id, found?.id].filter((id) => id !== undefined)
  return wishes.some(({ request }) => {
    const { kind, name } = request.guest
    const isNamed = name === guest.name || ids.some((id) => id.startsWith(name) || name.startsWith(id))
    return request.ifname === ifname && (kind === undefined || kind === guest.kind) && isNamed
  })
}

/** Takes it away, one after the other: with the last of them goes the bridge. On a dry run only plans it. */
export async function prune(known: Known, call: Call): Promise<readonly Pruned[]> {
  const pruned: Pruned[] = []
  for (const record of await listSurplus(known, call)) {
    try {
      const { kind, name } = record.guest
      const gone = pruned.flatMap((it) =>
        it.state === 'detached' ? it.taken.done.map(({ attached }) => attached) : [],
      )
      const isDry = call.flag('dry-run')
      // A guest may write what it likes on a link of its own: what goes is what its own guest has, from these files.
      const taken = await detach(
        {
          wanted: parseGuest(`${kind}:${name}`),
          ifnames: [record.ifname],
          files: listTags(call),
          gone: isDry ? gone : undefined,
        },
        call,
      )
      if (taken.done.length > 0) pruned.push({ record, state: 'detached', taken })
    } catch (why) {
      pruned.push({ record, state: 'failed', why })
    }
  }
  return pruned
}

/** `web eth1`: what an attachment is called in a sentence. */
export function formatLink({ guest, ifname }: LinkRecord): string {
  return `${formatGuest(guest)} ${ifname}`
}
