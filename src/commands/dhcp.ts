import { PipeworkError } from '../model/errors'
import { perform } from '../network/dhcp/internal'
import { explainSilence } from '../network/dhcp/no-answer'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'

/** What the keeper of a DHCP client calls pipework for, and a script of --dry-run. */
export async function run(call: Call): Promise<Outcome> {
  refuseUnlessRoot(call)
  const { host, io, words } = call
  const result = await perform(['', ...words], { host, interrupt: io.interrupt })
  if (result.code !== 0) {
    const { message, hint } = explainSilence(result, 'the network')
    throw new PipeworkError(message, { hint })
  }
  return { text: '', json: { ok: true } }
}
