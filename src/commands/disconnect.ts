import { parseGuestName } from '../model/guest-name'
import { parseIfname } from '../model/ifname'
import { CHANGE_OPTIONS, type CommandContext, defineCommand, toChangeOptions, validateRoot } from './types'

/** `pipework disconnect`: detach a guest, from everything or from one interface. */
export const disconnect = defineCommand({
  command: 'disconnect <guest> [ifname]',
  describe: 'remove attachments, and restore the routes they replaced',
  otherNames: ['rm', 'remove', 'del', 'delete', 'detach', 'unplug', 'clear', 'undo'],
  synopsis: 'disconnect <guest> [ifname]',
  builder: CHANGE_OPTIONS,
  examples: [
    { line: 'pipework disconnect web', does: 'remove everything that pipework attached to web' },
    { line: 'pipework disconnect web eth2', does: 'only eth2' },
    { line: 'pipework --dry-run disconnect web', does: 'what that would do, as a shell script' },
  ],
  handler: async (argv, context) => {
    const [typed = '', ifname] = argv.words
    const guestName = parseGuestName(typed)
    if (ifname !== undefined) parseIfname(ifname, 'interface in the guest')
    validateRoot(context, argv)
    const { system } = context
    const [{ disconnectGuest }, { toDisconnectOutput, toDisconnectScriptOutput }] = await Promise.all([
      import('../operations/detach'),
      import('../ui/detach-report'),
    ])
    const target = { guestName, ifnames: ifname === undefined ? undefined : [ifname] }
    const result = await disconnectGuest(target, await toChangeOptions(context, argv))
    if (argv.dryRun) return toDisconnectScriptOutput(result, ['disconnect', ...argv.words])
    const undo = result.kind === 'detached' ? await listUndoLines(result.result.detached, context) : []
    return toDisconnectOutput(result, { undo, elapsed: system.elapsed() })
  },
})

type Detached = Awaited<ReturnType<typeof import('../operations/detach').detachGuest>>['detached']

/** The commands that attach again, from the host's own records: a guest may have written the others. */
async function listUndoLines(detached: Detached, { system, parseLine }: CommandContext): Promise<readonly string[]> {
  const { toSavedLine } = await import('../operations/save')
  const own = detached.filter(({ attachment }) => attachment.hostEnd !== undefined)
  const lines = await Promise.all(own.map(({ attachment }) => toSavedLine(attachment, system, parseLine)))
  return lines.flatMap((it) => ('line' in it ? [`pipework ${it.line}`] : []))
}
