import { PipeworkError } from '../../model/errors'
import type { CommandResult, Interrupt, System } from '../../system/types'
import { applyLeaseEvent, rollBackLease, waitForLease } from './apply'
import { sendRelease } from './release'

const SUCCESS: CommandResult = { code: 0, stdout: '', stderr: '' }

/**
 * `pipework __dhcp <action> <directory>`, called by plans and by the supervisor: `await` the first lease, `apply` an event
 * of the client, `drop` the lease in a rollback, `release` it to the server.
 */
export async function runInternalDhcp(
  [, action, directory = '', seconds]: readonly string[],
  { system, interrupt }: { readonly system: System; readonly interrupt: Interrupt },
): Promise<CommandResult> {
  if (!/^\/run\/pipework\/dhcp\/[0-9a-f]{16}$/.test(directory))
    throw new PipeworkError(`'${directory}' is not the directory of a DHCP client`)
  if (action === 'await') return waitForLease(directory, { limit: Number(seconds), interrupt }, system)
  if (action === 'drop') return rollBackLease(directory, system)
  if (action === 'apply') await applyLeaseEvent(directory, system)
  else if (action === 'release') await sendRelease(directory, system)
  else throw new PipeworkError(`unknown action '${action}' of __dhcp`)
  return SUCCESS
}
