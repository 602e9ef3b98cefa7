import { expect, test } from 'vitest'
import { explainNoAnswer } from './no-answer'

const BANNER = 'Internet Systems Consortium DHCP Client 4.4.3-P1\n'
const HOOK = '/run/pipework/dhcp/ffc24d1dbcf667d0/hook'

test.each([
  ['', 'ended', 'the DHCP client ended at once'],
  [`${BANNER}execve (${HOOK}, ...): Permission denied\nDHCPOFFER from 10.9.0.1\n`, '', 'AppArmor denies it'],
  [`${BANNER}can't create /run/pipework/dhcp/x/dhclient.leases: Permission denied\n`, 'ended', 'AppArmor denies it'],
  ["udhcpc: can't bind to interface: Permission denied\n", 'ended', 'the DHCP client ended at once'],
  ['udhcpc: broadcasting discover\n', '', 'no server made an offer'],
  ['udhcpc: broadcasting select for 10.9.0.166\n', '', 'a server made an offer but did not acknowledge'],
  ['DHCPNAK from 10.9.0.1\n', '', 'refused the request (NAK)'],
])('%j, %j: %s', (stdout, stderr, message) =>
  expect(explainNoAnswer({ code: 1, stdout, stderr }, "'br1' within 30 s").message).toContain(message),
)
