import { formatAddress } from '../model/address'
import { formatUplinkSpec } from '../model/uplink'
import { type AttachContext, findLinkRecord } from '../state/attach-facts'
import { type DefaultRoute, encodeRecord, type LinkRecord } from '../state/record'
import { previousDefaults, routeMetric } from './default-route'

/** Options whose effect stays on the link until a later attach removes it. */
const PERSISTENT_OPTIONS = /^--(route=|policy-route$|mtu=|tx-offload=)/

function buildLinkRecord(context: AttachContext, nic: string | undefined): LinkRecord {
  const { request, guest } = context
  return {
    kind: 'link',
    guest: { kind: guest.kind, name: guest.name, id: guest.id },
    ifname: request.ifname,
    hostif: request.hostif,
    uplink: request.uplink === undefined ? undefined : formatUplinkSpec(request.uplink),
    addresses: request.addresses,
    sources: request.sources.length === 0 ? undefined : request.sources.map(({ typed }) => typed),
    words: request.words,
    previous: previousDefaults(context),
    nic,
    ...recordedFile(context),
  }
}

/** An attachment that a user typed never gets a file: `--prune` must not remove what no file has created. */
function recordedFile({ request, facts }: AttachContext): Pick<LinkRecord, 'file'> {
  const has = findLinkRecord(facts)
  if (has !== undefined && has.file === undefined) return {}
  const file = request.file ?? has?.file
  return file === undefined ? {} : { file }
}

/** The ifalias that records guest, addresses and options. */
export function formatLinkRecord(context: AttachContext, nic?: string): string {
  return encodeRecord(buildLinkRecord(context, nic))
}

/**
 * The record while the link changes: the old state beside the new one. After a kill midway the next run knows from it
 * which of the guest's addresses and routes pipework may remove.
 */
export function transitionalRecord(context: AttachContext, nic?: string): string {
  const wanted = buildLinkRecord(context, nic)
  const has = findLinkRecord(context.facts)
  if (has === undefined) return encodeRecord(wanted)
  const kept = context.request.addresses.map(formatAddress)
  const gone = has.addresses?.filter((address) => !kept.includes(formatAddress(address)))
  const isReplaced = (previous: DefaultRoute) =>
    wanted.previous.some((it) => it.family === previous.family && routeMetric(it) === routeMetric(previous))
  return encodeRecord({
    ...wanted,
    words: [
      ...wanted.words,
      ...has.words.filter((word) => PERSISTENT_OPTIONS.test(word) && !wanted.words.includes(word)),
    ],
    addresses: gone && [...context.request.addresses, ...gone],
    previous: [...wanted.previous, ...has.previous.filter((route) => !isReplaced(route))],
  })
}
