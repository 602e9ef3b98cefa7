import type { CommandResult } from '../../system/types'

/** Lines of what a client said that are shown when it ended. */
const LOG_TAIL_LINES = 3

/** Why there is no lease, out of what the client wrote: what was seen of a server. */
export function explainNoAnswer(
  { stdout, stderr }: CommandResult,
  where: string,
): { readonly message: string; readonly hint: string } {
  // Its profile of AppArmor (usr.sbin.dhclient, sbin.dhclient) knows the paths of Debian's own scripts, and not ours.
  if (/permission denied/i.test(stdout) && /Internet Systems Consortium|dhclient/.test(stdout))
    return {
      message: "dhclient may not use its files in '/run/pipework/dhcp': probably AppArmor keeps it from them",
      hint: 'To see that: journalctl -k --grep apparmor. Use another client: apt install udhcpc, and dhcp in the place of dhclient.',
    }
  if (stderr === 'ended') {
    const last = stdout.trim().split('\n').slice(-LOG_TAIL_LINES).join('\n')
    return { message: 'the DHCP client ended at once', hint: last === '' ? 'It said nothing.' : `It said: ${last}` }
  }
  const isOffered = /select for|DHCPOFFER|offered|ADVERTISE|REQUEST6/i.test(stdout)
  const isRefused = /\bNAK\b|DHCPNAK/i.test(stdout)
  const seen = isRefused
    ? 'the server refuses what it is asked for (NAK)'
    : isOffered
      ? 'there was an offer, and no acknowledgement of it'
      : 'there was no offer'
  return {
    message: `no address by DHCP on ${where}: ${seen}`,
    hint:
      isOffered || isRefused
        ? 'Look into the log of the DHCP server: it has to give what it offers.'
        : 'Is there a DHCP server on that network? More time: --dhcp-timeout SECONDS.',
  }
}
