import { PipeworkError } from '../model/errors'
import { defineCommand, validateRoot } from './types'

/** What the supervisor of a DHCP client calls, and a script of --dry-run. */
export const dhcp = defineCommand({
  command: '__dhcp [words..]',
  describe: 'apply what a DHCP client reports',
  synopsis: '__dhcp await|apply|drop|release <directory> [seconds]',
  builder: {},
  examples: [],
  hidden: true,
  handler: async ({ words }, context) => {
    validateRoot(context)
    const { system, io } = context
    const [{ runInternalDhcp }, { explainNoAnswer }] = await Promise.all([
      import('../network/dhcp/internal'),
      import('../network/dhcp/no-answer'),
    ])
    const result = await runInternalDhcp(['', ...words], { system, interrupt: io.interrupt })
    if (result.code !== 0) {
      const { message, hint } = explainNoAnswer(result, 'the network')
      throw new PipeworkError(message, { hint })
    }
    return { text: '', json: { ok: true } }
  },
})
