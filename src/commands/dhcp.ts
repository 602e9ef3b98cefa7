import { PipeworkError } from '../model/errors'
import { runInternalDhcp } from '../network/dhcp/internal'
import { explainNoAnswer } from '../network/dhcp/no-answer'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'

/** What the keeper of a DHCP client calls pipework for, and a script of --dry-run. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  validateRoot(call)
  const { system, io, positionals } = call
  const result = await runInternalDhcp(['', ...positionals], { system, interrupt: io.interrupt })
  if (result.code !== 0) {
    const { message, hint } = explainNoAnswer(result, 'the network')
    throw new PipeworkError(message, { hint })
  }
  return { text: '', json: { ok: true } }
}
