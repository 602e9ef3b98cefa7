import { usageError, validateNoExtraArgs } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { parseSeconds } from '../model/number'
import { CHANGE_OPTIONS, defineCommand, toChangeOptions, validateRoot, WAIT_GUEST_OPTION } from './types'

/** `pipework netns`: a name for the network namespace of a guest. */
export const netns = defineCommand({
  command: 'netns [guest] [name]',
  describe: "name a guest's network namespace for `ip netns exec`, until the guest stops",
  synopsis: 'netns <guest> [name] | netns --prune',
  builder: {
    prune: { type: 'boolean', describe: 'remove the names in /run/netns that lead to no namespace' },
    ...WAIT_GUEST_OPTION,
    ...CHANGE_OPTIONS,
  },
  examples: [
    { line: 'pipework netns web', does: 'then: ip netns exec web ip address' },
    { line: 'pipework netns web blue', does: 'under another name: ip -n blue link' },
    { line: 'pipework netns --prune', does: 'remove the names of guests that are gone' },
  ],
  handler: async (argv, context) => {
    const { system, io } = context
    const [typed, name] = argv.words
    const [operation, report] = await Promise.all([import('../operations/netns-name'), import('../ui/netns-report')])
    if (argv.prune) {
      validateNoExtraArgs(argv.words, 'pipework netns --prune')
      validateRoot(context, argv)
      const plan = await operation.pruneNetnsNames(await toChangeOptions(context, argv))
      if (argv.dryRun) return report.toNetnsScriptOutput(plan, ['--prune'])
      return report.toPrunedOutput(operation.listPrunedNames(plan))
    }
    if (typed === undefined)
      throw usageError('netns: missing argument <guest>', 'pipework netns <guest> [name]\npipework netns --prune')
    const guestName = parseGuestName(typed)
    if (name !== undefined) operation.validateNetnsName(name)
    const timeout = parseSeconds(argv.waitGuest ?? '0', '--wait-guest')
    validateRoot(context, argv)
    const { waitForGuest } = await import('../runtimes/find')
    const guest = await waitForGuest(guestName, system, { timeout, interrupt: io.interrupt })
    const result = await operation.nameNetns(guest, name, await toChangeOptions(context, argv))
    return argv.dryRun ? report.toNetnsScriptOutput(result.plan, argv.words) : report.toNamedOutput(result, guest)
  },
})
