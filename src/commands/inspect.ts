import { parseGuestName } from '../model/guest-name'
import { defineCommand } from './types'

/** `pipework inspect`: everything about the network of one guest. */
export const inspect = defineCommand({
  command: 'inspect <guest>',
  describe: 'show everything about the network of a guest on one page',
  otherNames: ['info', 'describe', 'details'],
  synopsis: 'inspect <guest>',
  builder: {},
  examples: [
    { line: 'pipework inspect web', does: 'interfaces, addresses, routes, and the commands that make and undo them' },
    { line: 'pipework inspect web --json', does: 'the same for programs' },
    { line: 'pipework inspect netns:router', does: 'a namespace of ip netns' },
  ],
  handler: async ({ words: [typed = ''] }, { system, parseLine }) => {
    const guestName = parseGuestName(typed)
    const [{ inspectGuest }, { formatInspectView }, { toTerminal, wrapToTerminal }] = await Promise.all([
      import('../operations/inspect'),
      import('../ui/format/inspect'),
      import('../ui/terminal'),
    ])
    const view = await inspectGuest(guestName, typed, { system, parseLine })
    const { why, ...rest } = view
    return {
      text: wrapToTerminal(formatInspectView(view), toTerminal(system)),
      json: { ok: true, ...rest, why: why?.message },
      printWhenQuiet: true,
    }
  },
})
