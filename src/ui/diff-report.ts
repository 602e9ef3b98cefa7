import { ExitCode } from '../model/errors'
import { type DiffResult, listMissingSteps } from '../operations/up/diff'
import type { LineResult } from '../operations/up/for-each-guest'
import { formatAttachmentName } from '../operations/up/prune'
import { formatLocation } from '../operations/up/read-files'
import type { Output } from './output'
import { toErrorMessage } from './report'

/** What `diff` prints; exit code 1 when something differs. */
export function toDiffOutput({ results, stale }: DiffResult): Output {
  const isSame = stale.length === 0 && results.every((it) => listMissingSteps(it).length === 0 && it.state !== 'failed')
  const lines = [...results.flatMap(formatLineResult), ...stale.map((it) => `- ${formatAttachmentName(it)}: remove it`)]
  return {
    text: lines.map((line) => `${line}\n`).join(''),
    json: {
      ok: true,
      same: isSame,
      attachments: results.map((it) => ({
        where: formatLocation(it.line),
        ...{ guest: it.line.request.guest.name, ifname: it.line.request.ifname, state: it.state },
        ...(it.state === 'planned' ? { steps: listMissingSteps(it) } : { message: toErrorMessage(it.error) }),
      })),
      surplus: stale.map(({ guest, ifname, hostif }) => ({ guest, ifname, hostif })),
    },
    printWhenQuiet: true,
    exitCode: isSame ? ExitCode.ok : ExitCode.failed,
  }
}

/** A line of the file, then its missing steps: `+` to attach, `~` to change, `!` impossible. */
function formatLineResult(result: LineResult): readonly string[] {
  const { request } = result.line
  const name = `${formatLocation(result.line)}: ${request.guest.name} ${request.ifname}`
  if (result.state === 'failed') return [`! ${name}: ${toErrorMessage(result.error)}`]
  if (result.state === 'absent') return [`  ${name}: ${result.error.message}`]
  const steps = listMissingSteps(result)
  if (steps.length === 0) return []
  return [
    `${result.attachPlan.facts.inGuest === undefined ? '+' : '~'} ${name}`,
    ...steps.map((description) => `    ${description}`),
  ]
}
