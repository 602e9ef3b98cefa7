import { PipeworkError } from '../../model/errors'
import type { Result } from '../../plan/step'
import type { Host, Interrupt } from '../../system/types'
import { applyNews, awaitLease, dropLease } from './apply'
import { release } from './release'

const OK: Result = { code: 0, stdout: '', stderr: '' }

/**
 * What `pipework __dhcp <what> <directory>` does: the steps of a plan, and what a client's keeper and a script call.
 * `await` the first lease, `apply` news of it, `drop` it, `release` it.
 */
export async function perform(
  [, what, directory = '', seconds]: readonly string[],
  { host, interrupt }: { readonly host: Host; readonly interrupt: Interrupt },
): Promise<Result> {
  if (!/^\/run\/pipework\/dhcp\/[0-9a-f]{16}$/.test(directory))
    throw new PipeworkError(`'${directory}' is not the directory of a DHCP client`)
  if (what === 'await') return awaitLease(directory, { limit: Number(seconds), interrupt }, host)
  if (what === 'drop') return dropLease(directory, host)
  if (what === 'apply') await applyNews(directory, host)
  else if (what === 'release') await release(directory, host)
  else throw new PipeworkError(`'${what}' is nothing that a DHCP client does`)
  return OK
}
