import { parseIfname } from '../model/ifname'
import { parseSeconds } from '../model/number'
import { defineCommand, textOption } from './types'

const CONDITIONS = ['up', 'carrier', 'addr', 'route'] as const

/** `pipework --wait`: inside a container, wait for its interface. */
export const wait = defineCommand({
  command: '--wait',
  describe: 'inside a container: wait until it has its interface; needs neither root nor ip',
  otherNames: ['wait'],
  synopsis: '--wait [-i ifname] [--timeout seconds] [--for up|carrier|addr|route]',
  builder: {
    wait: { type: 'boolean', describe: 'wait for an interface of the network namespace that this runs in' },
    i: { ...textOption('ifname'), describe: 'interface name (default eth1)' },
    timeout: {
      ...textOption('seconds'),
      describe: 'give up after that time, with exit code 124 (default: never)',
    },
    for: {
      ...textOption('what'),
      choices: CONDITIONS,
      describe: 'carrier (the default), up, addr: a usable address, or route: a default route through it',
    },
  },
  examples: [
    { line: 'pipework --wait', does: 'until eth1 exists and has a carrier' },
    { line: 'pipework --wait --for route', does: 'until eth1 has a default route' },
    { line: 'pipework --wait -i eth2 --for addr --timeout 30', does: 'until eth2 has an address, at most 30 s' },
  ],
  handler: async (argv, { system, io }) => {
    const ifname = parseIfname(argv.i ?? 'eth1', 'interface')
    const condition = CONDITIONS.find((it) => it === argv.for) ?? 'carrier'
    const limit = argv.timeout === undefined ? Number.POSITIVE_INFINITY : parseSeconds(argv.timeout, '--timeout')
    const { waitForInterface } = await import('../operations/wait')
    await waitForInterface({ ifname, condition, limit }, { system, interrupt: io.interrupt })
    // No output, as in the original: the container's own program comes next.
    return { text: '', json: { ok: true, ifname, for: condition, elapsed: Math.round(system.elapsed()) } }
  },
})
