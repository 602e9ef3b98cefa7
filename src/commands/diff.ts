import { ExitCode } from '../model/errors'
import { forEachGuest, reachGuests, type Told } from '../operations/up/for-each-guest'
import { formatLink, listSurplus } from '../operations/up/prune'
import { placeOf, readFiles } from '../operations/up/read-files'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'
import { messageOf } from '../ui/up-report'
import { inOrder, look } from './up'

/** What `up` would do. Exit code 0 when that is nothing. */
export async function run(call: Call): Promise<Outcome> {
  const wishes = await readFiles(call)
  refuseUnlessRoot(call)
  const { groups, told } = await reachGuests(wishes, call)
  const done = await forEachGuest(groups, call, { action: look(call) })
  const all = inOrder(wishes, [...told, ...done.flat()])
  const surplus = call.flag('prune')
    ? await listSurplus({ wishes, guests: groups.map(({ guest }) => guest) }, call)
    : []
  const isSame = surplus.length === 0 && all.every((it) => listSteps(it).length === 0 && it.state !== 'failed')
  return {
    text: [...all.flatMap(tell), ...surplus.map((it) => `- ${formatLink(it)}: take it away`)]
      .map((line) => `${line}\n`)
      .join(''),
    json: {
      ok: true,
      same: isSame,
      attachments: all.map((it) => ({
        where: placeOf(it.wish),
        ...{ guest: it.wish.request.guest.name, ifname: it.wish.request.ifname, state: it.state },
        ...(it.state === 'planned' ? { steps: listSteps(it) } : { message: messageOf(it.why) }),
      })),
      surplus: surplus.map(({ guest, ifname, hostif }) => ({ guest, ifname, hostif })),
    },
    wanted: true,
    exitCode: isSame ? ExitCode.ok : ExitCode.failed,
  }
}

function listSteps(told: Told): readonly string[] {
  return told.state === 'planned' ? told.planned.plan.map(({ why }) => why) : []
}

/** A line of the file as its place, then what is amiss: `+` is to be made, `~` changed, `!` cannot be. */
function tell(told: Told): readonly string[] {
  const { request } = told.wish
  const name = `${placeOf(told.wish)}: ${request.guest.name} ${request.ifname}`
  if (told.state === 'failed') return [`! ${name}: ${messageOf(told.why)}`]
  if (told.state === 'absent') return [`  ${name}: ${told.why.message}`]
  const steps = listSteps(told)
  if (steps.length === 0) return []
  return [`${told.planned.facts.inGuest === undefined ? '+' : '~'} ${name}`, ...steps.map((why) => `    ${why}`)]
}
