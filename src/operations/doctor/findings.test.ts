import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FINDINGS } from './findings'

test('the README lists what can be found', () => {
  const lines = readFileSync('README.md', 'utf8').split('\n')
  const rows = Object.entries(FINDINGS).map(([id, what]) => `| \`${id}\` | ${what} |`)
  expect(lines.filter((line) => rows.includes(line))).toEqual(rows)
})

/** What the doctor's own command does not mend in doctor.bats, and why. */
const NOT_MENDED: Readonly<Record<string, string>> = {
  'hypervisor-mac': 'the switch is the hypervisor’s; DMI is read from a /sys of the test’s own',
  'wifi-uplink': 'there is no wireless NIC; a /sys of the test’s own has one',
  'manager-holds': 'managers.bats runs the real ones and the command',
  'docker-rootless': 'a daemon that says it is rootless: there is no user namespace for a real one',
  'ovs-down': 'the command is systemctl’s: the daemon is started as it does',
  'kernel-missing': 'this kernel loads no modules',
  'tool-missing': 'the command is apt’s: what it brings is put into the PATH',
  'guest-hidden': 'the command starts Docker, which runs for the whole suite',
  'namespace-hidden': 'an ip that fails in other namespaces is a stand-in',
  'gateway-silent': 'the command looks further; another finding names what is wrong',
  'neighbour-silent': 'the command looks further; the firewall in the guest is not ours to change',
}

test('each is produced for real, and mended by the command that is printed, or it is said why not', () => {
  const cases = readFileSync('bats-tests/doctor.bats', 'utf8')
  const isFound = (id: string) => new RegExp(`\\b(cures|has|text_of|command_of) ${id}\\b`).test(cases)
  const isMended = (id: string) =>
    new RegExp(`\\bcures ${id}\\b|(sh -c|eval) "\\$\\(command_of ${id}\\)"`).test(
      cases.replaceAll('run ! on_host sh -c', ''),
    )
  const ids = Object.keys(FINDINGS)
  expect(ids.filter((id) => !isFound(id))).toEqual([])
  expect(ids.filter((id) => !isMended(id)).sort()).toEqual(Object.keys(NOT_MENDED).sort())
})
