import { PipeworkError } from '../model/errors'
import { defineCommand } from './types'

/** `pipework doctor`: what stops traffic, and the command that fixes it. */
export const doctor = defineCommand({
  command: 'doctor [name]',
  describe: 'find what stops traffic, and the command that fixes it; exit code 1 when there is something',
  otherNames: ['check', 'diagnose', 'debug', 'troubleshoot', 'test'],
  synopsis: 'doctor [bridge] | doctor [guest]',
  builder: {},
  examples: [
    { line: 'pipework doctor', does: 'everything that concerns pipework on this host' },
    { line: 'pipework doctor br1', does: 'one bridge and its guests' },
    { line: 'pipework doctor web --json', does: 'one guest, for programs' },
  ],
  handler: async ({ words: [name] }, { system }) => {
    if (!system.isRoot) throw new PipeworkError('only root can read guests and firewalls: run it with sudo')
    const [{ diagnose }, { toDoctorOutput }, { toTerminal, wrapToTerminal }] = await Promise.all([
      import('../operations/doctor'),
      import('../ui/doctor-report'),
      import('../ui/terminal'),
    ])
    const output = toDoctorOutput(await diagnose(name, system))
    return { ...output, text: wrapToTerminal(output.text, toTerminal(system)) }
  },
})
