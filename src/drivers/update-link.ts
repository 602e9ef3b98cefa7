import { formatLinkRecord, transitionalRecord } from '../network/link-record'
import { emptyWord, ip, ipInGuest, type Plan } from '../plan/step'
import { type AttachContext, type AttachFacts, findLinkRecord } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'

/** The MTU of a link on a bridge: the one asked for, else the bridge's. */
export function mtuOnBridge({ request, facts }: AttachContext): number {
  return request.mtu ?? facts.otherPortsMtu ?? facts.hostif?.mtu ?? DEFAULT_MTU
}

/** Changes the MTU of a link in the guest: to the one asked for, or back to the usual one when that was given before. */
export function planMtuChange({ request, facts }: AttachContext, live: number, usual: number | undefined): Plan {
  const { ifname } = request
  const mtu = request.mtu ?? (hasRecordedOption(facts, '--mtu=') ? usual : undefined)
  if (mtu === undefined || mtu === live) return []
  return [
    {
      description: `set the MTU of ${ifname} to ${mtu}`,
      command: ipInGuest`link set dev ${ifname} mtu ${mtu}`,
      undo: ipInGuest`link set dev ${ifname} mtu ${live}`,
    },
  ]
}

/** Changes the MAC address of a link in the guest to the one asked for; one that nobody asked for stays. */
export function planMacChange({ request, facts }: AttachContext, live: string): Plan {
  const { ifname, mac } = request
  if (mac === undefined || live === facts.mac) return []
  return [
    {
      description: `set the MAC address of ${ifname}`,
      command: ipInGuest`link set dev ${ifname} address ${facts.mac}`,
      undo: ipInGuest`link set dev ${ifname} address ${live}`,
    },
  ]
}

/** The record of a change on a link that has no end in the host; one of a killed run has no alias yet. */
export function planRecordChange(context: AttachContext, { alias }: GuestLink, nic?: string): Plan {
  const { ifname } = context.request
  const record = transitionalRecord(context, nic)
  if (alias === record) return []
  return [
    {
      description: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${record}`,
      undo: ipInGuest`link set dev ${ifname} alias ${alias ?? emptyWord}`,
    },
  ]
}

/** Whether the record has a word that begins so: an option that was given, and may be no longer. */
function hasRecordedOption(facts: Pick<AttachFacts, 'hostEnd' | 'inGuest'>, start: string): boolean {
  return findLinkRecord(facts)?.words.some((word) => word.startsWith(start)) ?? false
}

/** The last step of a change: the record without what was. */
export function planFinalRecord(context: AttachContext): Plan {
  const { request, facts } = context
  const nic = findLinkRecord(facts)?.nic
  const [interim, settled] = [transitionalRecord(context, nic), formatLinkRecord(context, nic)]
  if (interim === settled) return []
  const [command, name] =
    facts.hostEnd === undefined ? [ipInGuest, request.ifname] : [ip, request.hostEnd ?? facts.hostEnd.name]
  return [
    {
      description: `record on ${name} that the change is complete`,
      command: command`link set dev ${name} alias ${settled}`,
      undo: command`link set dev ${name} alias ${interim}`,
    },
  ]
}
