import { formatLinkRecord, transitionalRecord } from '../network/link-record'
import { emptyWord, ip, ipInGuest, type Plan } from '../plan/step'
import { type AttachContext, type AttachFacts, findLinkRecord } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'

/** The MTU of a link on a bridge: the requested one, else the bridge's. */
export function mtuOnBridge({ request, facts }: AttachContext): number {
  return request.mtu ?? facts.otherPortsMtu ?? facts.hostif?.mtu ?? DEFAULT_MTU
}

/** Sets the requested MTU in the guest, or the usual one again when an earlier request set another. */
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

/** Sets the requested MAC address in the guest; without a request, the current one is kept. */
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

/** Updates the record of a link without a host end. After a killed run the link may have no alias yet. */
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

/** Whether the record has a word with this start: an option of an earlier request. */
function hasRecordedOption(facts: Pick<AttachFacts, 'hostEnd' | 'inGuest'>, start: string): boolean {
  return findLinkRecord(facts)?.words.some((word) => word.startsWith(start)) ?? false
}

/** The last step of a change: the record without the previous state. */
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
