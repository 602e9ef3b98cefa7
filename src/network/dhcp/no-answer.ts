import type { CommandResult } from '../../system/types'

/** Log lines that are shown when the client has ended. */
const LOG_TAIL_LINES = 3

/** Explains a missing lease from the client's log. */
export function explainNoAnswer(
  { stdout, stderr }: CommandResult,
  where: string,
): { readonly message: string; readonly hint: string } {
  // The AppArmor profile of dhclient allows the paths of Debian's own files only.
  if (/permission denied/i.test(stdout) && /Internet Systems Consortium|dhclient/.test(stdout))
    return {
      message: "dhclient cannot use its files in '/run/pipework/dhcp': probably AppArmor denies it",
      hint: 'To check: journalctl -k --grep apparmor. Use another client: apt install udhcpc, and write dhcp instead of dhclient.',
    }
  if (stderr === 'ended') {
    const tail = stdout.trim().split('\n').slice(-LOG_TAIL_LINES).join('\n')
    return { message: 'the DHCP client ended at once', hint: tail === '' ? 'Its log is empty.' : `Its log: ${tail}` }
  }
  const isOffered = /select for|DHCPOFFER|offered|ADVERTISE|REQUEST6/i.test(stdout)
  const isRefused = /\bNAK\b|DHCPNAK/i.test(stdout)
  const reason = isRefused
    ? 'the server refused the request (NAK)'
    : isOffered
      ? 'a server made an offer but did not acknowledge the request'
      : 'no server made an offer'
  return {
    message: `no address by DHCP on ${where}: ${reason}`,
    hint:
      isOffered || isRefused
        ? 'See the log of the DHCP server.'
        : 'Is there a DHCP server on that network? To wait longer: --dhcp-timeout SECONDS.',
  }
}
