import { PipeworkError } from '../../model/errors'
import type { GuestName } from '../../model/guest-name'
import { GuestNotFoundError } from '../../runtimes/find'
import { formatGuest } from '../../state/record'
import { type DetachResult, detachGuest } from '../detach'
import type { ChangeOptions } from '../types'
import type { AttachmentLine } from './read-files'

/** The result for the lines of one guest. */
export interface DownResult {
  readonly guest: GuestName
  readonly ifnames: readonly string[]
  /** Absent when there is no such guest. */
  readonly result?: DetachResult
  readonly error?: unknown
}

/** Detaches everything listed in attachment files, whichever command attached it. */
export async function detachFileLines(
  lines: readonly AttachmentLine[],
  options: ChangeOptions,
): Promise<readonly DownResult[]> {
  const all: DownResult[] = []
  // One guest after the other: the last one also removes the bridge.
  for (const { guest, ifnames } of groupLinesByGuest(lines)) {
    const gone = all.flatMap((it) => it.result?.detached.map(({ attachment }) => attachment) ?? [])
    const target = { guestName: guest, ifnames, gone: options.dryRun ? gone : undefined }
    try {
      if (options.interrupt.requested) throw new PipeworkError('interrupted')
      all.push({ guest, ifnames, result: await detachGuest(target, options) })
    } catch (error) {
      all.push({ guest, ifnames, error: error instanceof GuestNotFoundError ? undefined : error })
    }
  }
  return all
}

function groupLinesByGuest(lines: readonly AttachmentLine[]): readonly Pick<DownResult, 'guest' | 'ifnames'>[] {
  const names = [...new Set(lines.map(({ request }) => formatGuestName(request.guest)))]
  return names.flatMap((name) => {
    const requests = lines.map(({ request }) => request).filter(({ guest }) => formatGuestName(guest) === name)
    return requests[0] === undefined ? [] : [{ guest: requests[0].guest, ifnames: requests.map((it) => it.ifname) }]
  })
}

/** The guest's name as typed, without the default kind. */
export function formatGuestName({ kind = 'docker', name }: GuestName): string {
  return formatGuest({ kind, name })
}
