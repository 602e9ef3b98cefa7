import { ExitCode } from '../model/errors'
import { forEachGuest, type LineResult, resolveGuests } from '../operations/up/for-each-guest'
import { findStaleRecords, formatAttachmentName } from '../operations/up/prune'
import { formatLocation, readAttachmentFiles } from '../operations/up/read-files'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'
import { toErrorMessage } from '../ui/up-report'
import { createPlanAction, sortByLine } from './up'

/** What `up` would do. Exit code 0 when that is nothing. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const wishes = await readAttachmentFiles(call)
  validateRoot(call)
  const { groups, told } = await resolveGuests(wishes, call)
  const done = await forEachGuest(groups, call, { action: createPlanAction(call) })
  const all = sortByLine(wishes, [...told, ...done.flat()])
  const surplus = call.hasFlag('prune')
    ? await findStaleRecords({ lines: wishes, guests: groups.map(({ guest }) => guest) }, call)
    : []
  const isSame =
    surplus.length === 0 && all.every((it) => listStepDescriptions(it).length === 0 && it.state !== 'failed')
  return {
    text: [...all.flatMap(formatLineResult), ...surplus.map((it) => `- ${formatAttachmentName(it)}: take it away`)]
      .map((line) => `${line}\n`)
      .join(''),
    json: {
      ok: true,
      same: isSame,
      attachments: all.map((it) => ({
        where: formatLocation(it.line),
        ...{ guest: it.line.request.guest.name, ifname: it.line.request.ifname, state: it.state },
        ...(it.state === 'planned' ? { steps: listStepDescriptions(it) } : { message: toErrorMessage(it.error) }),
      })),
      surplus: surplus.map(({ guest, ifname, hostif }) => ({ guest, ifname, hostif })),
    },
    printWhenQuiet: true,
    exitCode: isSame ? ExitCode.ok : ExitCode.failed,
  }
}

function listStepDescriptions(told: LineResult): readonly string[] {
  return told.state === 'planned' ? told.attachPlan.plan.map(({ description }) => description) : []
}

/** A line of the file as its place, then what is amiss: `+` is to be made, `~` changed, `!` cannot be. */
function formatLineResult(told: LineResult): readonly string[] {
  const { request } = told.line
  const name = `${formatLocation(told.line)}: ${request.guest.name} ${request.ifname}`
  if (told.state === 'failed') return [`! ${name}: ${toErrorMessage(told.error)}`]
  if (told.state === 'absent') return [`  ${name}: ${told.error.message}`]
  const steps = listStepDescriptions(told)
  if (steps.length === 0) return []
  return [`${told.attachPlan.facts.inGuest === undefined ? '+' : '~'} ${name}`, ...steps.map((why) => `    ${why}`)]
}
