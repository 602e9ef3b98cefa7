import { PipeworkError } from '../../model/errors'
import type { CommandResult, Interrupt, System } from '../../system/types'
import { applyLeaseEvent, rollBackLease, waitForLease } from './apply'
import { sendRelease } from './release'

const SUCCESS: CommandResult = { code: 0, stdout: '', stderr: '' }

/**
 * What `pipework __dhcp <what> <directory>` does: the steps of a plan, and what a client's keeper and a script call.
 * `await` the first lease, `apply` news of it, `drop` it, `release` it.
 */
export async function runInternalDhcp(
  [, what, directory = '', seconds]: readonly string[],
  { system, interrupt }: { readonly system: System; readonly interrupt: Interrupt },
): Promise<CommandResult> {
  if (!/^\/run\/pipework\/dhcp\/[0-9a-f]{16}$/.test(directory))
    throw new PipeworkError(`'${directory}' is not the directory of a DHCP client`)
  if (what === 'await') return waitForLease(directory, { limit: Number(seconds), interrupt }, system)
  if (what === 'drop') return rollBackLease(directory, system)
  if (what === 'apply') await applyLeaseEvent(directory, system)
  else if (what === 'release') await sendRelease(directory, system)
  else throw new PipeworkError(`'${what}' is nothing that a DHCP client does`)
  return SUCCESS
}
