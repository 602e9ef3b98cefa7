import { filteredFamilies } from '../firewall/br-netfilter'
import { LEASES } from '../model/address-sources'
import { isForwarded } from '../model/host-services'
import { type AttachRequest, toWords } from '../model/request'
import { formatUplink } from '../model/uplink'
import { converge, foresee, hostEndOf, type Means, type Planned, toPassenger } from '../operations/attach'
import type { Guest } from '../runtimes/find'
import { DEFAULT_MTU } from '../state/host-links'
import { formatGuest } from '../state/record'
import type { Ahead } from '../system/ahead'
import type { Host, Pin } from '../system/types'
import { type Call, type Outcome, openTranscripts } from '../ui/command'
import { type Attachment, describe, formatWarning, toAttachment, toScript, type Warning } from '../ui/report'
import type { Transcript } from '../ui/transcript'

/** What a call lends to the changes that it asks for. */
export function toMeans({ host, io }: Call, transcript: Transcript | undefined): Means {
  return { host, interrupt: io.interrupt, ...transcript }
}

/** The same for who may be asked whether a connection of the host still works. */
async function toWatched(request: AttachRequest, transcript: Transcript | undefined, call: Call): Promise<Means> {
  if (request.uplink === undefined) return toMeans(call, transcript)
  const { toConnector } = await import('./connector')
  const { confirm, tell } = await toConnector(call)
  return { ...toMeans(call, transcript), tell, ...(confirm === undefined ? {} : { confirm }) }
}

/** Attaches the guest, or says what that would take. */
export async function attach(
  request: AttachRequest,
  { guest, pin, ahead }: { readonly guest: Guest; readonly pin: Pin | undefined; readonly ahead: Ahead },
  call: Call,
): Promise<Outcome> {
  if (pin === undefined || call.flag('dry-run'))
    return toScriptOutcome(await foresee(request, { guest, pin }, call.host), pin)
  // The rules are read while the first steps run; with --strict they were judged before them.
  const isAsked = request.firewall === 'warn' && !request.strict
  const watch = isAsked ? call.host.sleep(0).then(() => watchFirewall([request], call.host)) : undefined
  watch?.catch(() => {})
  const transcript = (await openTranscripts(call, 'one'))?.(guest)
  const means = await toWatched(request, transcript, call)
  const hadClients = (call.host.list(LEASES) ?? []).length > 0
  const [planned] = await converge([request], { guest, pin }, { ...means, ahead }).finally(() => transcript?.end())
  if (planned === undefined) throw new TypeError('one request, and no plan')
  // Clients that outlived their guests, if there were any at all.
  if (hadClients) await (await import('../network/dhcp/cleanup')).sweepClients(call.host)
  const warn = await watch
  const warning = await warn?.(planned)
  if (warning !== undefined) call.io.err(formatWarning(warning))
  return await toOutcome(planned, warning, call)
}

function toScriptOutcome({ request, guest, plan }: Planned, pin: Pin | undefined): Outcome {
  const notes =
    pin === undefined ? [`not root: the inside of ${guest.name} could not be read and is taken to be empty`] : []
  const script = toScript({ plan, guest, words: toWords(request), notes })
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

/** Nobody waits for the rules of a firewall that no bridge's frames meet, and nothing that is forwarded. */
export async function watchFirewall(requests: readonly AttachRequest[], host: Host) {
  if (!host.isRoot || (filteredFamilies(host).length === 0 && !requests.some(isForwarded))) return undefined
  const { watchPassage } = await import('../firewall/bridge-accept')
  const judge = watchPassage(host)
  return async (planned: Planned) => judge(await toPassenger(planned, host))
}

/** The attachment as it is now, for who reads of it. */
export function toAttached(planned: Planned, host: Host): Attachment {
  const { request, guest, facts } = planned
  const hostEnd = hostEndOf(planned, host)
  const { kind, name, id } = guest
  const { ifname, hostif, addresses, words } = request
  const uplink = request.uplink === undefined ? {} : { uplink: formatUplink(request.uplink) }
  const sources = request.sources.length === 0 ? {} : { sources: request.sources.map(({ word }) => word) }
  const record = { kind: 'link', ifname, hostif, ...uplink, addresses, ...sources, words, previous: [] } as const
  return toAttachment(
    { ...record, guest: { kind, name, id } },
    { mtu: request.mtu ?? facts.hostif?.mtu ?? DEFAULT_MTU, up: true },
    hostEnd?.name,
  )
}

/** The same with what the DHCP servers gave. */
async function withLeases(attachment: Attachment, host: Host): Promise<Attachment> {
  if (attachment.sources === undefined) return attachment
  const { readLeases } = await import('../network/dhcp/report')
  const leases = readLeases(attachment, host)
  const given = leases.flatMap(({ address, router }) =>
    address === null ? [] : [`${address}${router === null ? '' : `@${router}`}`],
  )
  const typed = attachment.addresses?.filter((it) => !given.includes(it)) ?? []
  return { ...attachment, addresses: [...given, ...typed], leases }
}

async function toOutcome(planned: Planned, warning: Warning | undefined, { host }: Call): Promise<Outcome> {
  const { request, guest, plan } = planned
  const attachment = await withLeases(toAttached(planned, host), host)
  const { name } = guest
  const connected = planned.connected?.plan ?? []
  const changed = plan.length > 0 || connected.length > 0
  const undo = `pipework disconnect ${formatGuest(guest)}${request.ifname === 'eth1' ? '' : ` ${request.ifname}`}`
  const { sharedWith } = guest
  const shared = sharedWith === undefined ? '' : `  ${name} shares the network of ${sharedWith}: both have it now\n`
  return {
    text: changed
      ? `${describe(attachment)} (${Math.round(host.elapsed())} ms)\n${shared}  undo: ${undo}${connected.length > 0 ? `, and pipework uplink del ${request.hostif}` : ''}\n`
      : `${describe(attachment)} already; nothing changed\n${shared}`,
    json: {
      ...{ ok: true, changed, attachment, steps: [...connected, ...plan].map(({ why }) => why), undo },
      sharedWith,
      warnings: warning === undefined ? undefined : [warning],
    },
  }
}
