import { type Address, formatAddress } from '../../model/address'
import type { InspectEntry, InspectView } from '../../operations/inspect'
import type { GuestLink, GuestRoute } from '../../state/guest'
import type { HostLink } from '../../state/host-links'
import { formatLease } from './list'

type InspectRow = readonly [string, string]

const RUNTIMES: Readonly<Record<string, string>> = {
  docker: 'container of Docker',
  podman: 'container of Podman',
  lxc: 'container of LXC',
  nerdctl: 'container of containerd',
  netns: 'namespace of ip netns',
  pid: 'process',
}

function formatTitle({ title, guest }: InspectView): readonly string[] {
  if (guest === undefined) return [title]
  const { kind, id, pid, sharedWith } = guest
  const parts = [
    RUNTIMES[kind] ?? kind,
    ...(id === undefined || kind === 'pid' ? [] : [id.slice(0, 12)]),
    ...(pid === undefined ? [] : [`PID ${pid}`]),
  ]
  return [
    `${title}  ${parts.join(', ')}`,
    ...(sharedWith === undefined ? [] : [`  its network is that of ${sharedWith}`]),
  ]
}

/** Addresses on the link, then recorded ones that are missing. */
function listAddressTexts(addresses: readonly Address[], link: GuestLink | undefined): readonly string[] {
  const live = link?.addresses.map((it) => `${it.ip}/${it.prefix}${it.tentative ? ' (not yet in use)' : ''}`)
  const missing = addresses.filter((it) => live !== undefined && !live.some((text) => text.startsWith(`${it.ip}/`)))
  return [...(live ?? addresses.map(formatAddress)), ...missing.map((it) => `${formatAddress(it)} is missing`)]
}

function formatLinkState(link: GuestLink | HostLink): string {
  return [link.up ? 'up' : 'down', `MTU ${link.mtu}`, ...(link.mac === '' ? [] : [link.mac])].join(', ')
}

function toInspectRows(entry: InspectEntry): readonly InspectRow[] {
  const { hostif, uplink, hostEnd, inGuest, addresses, command, undo } = entry
  const gateways = [...new Set(addresses.flatMap(({ gateway }) => gateway ?? []))]
  const port = hostEnd?.master === undefined ? '' : `, port of ${hostEnd.master}`
  return [
    ['on', uplink === undefined ? hostif : `${hostif}, whose uplink is ${uplink}`],
    ...listAddressTexts(addresses, inGuest).map((it): InspectRow => ['address', it]),
    ...entry.leases.map((it): InspectRow => ['lease', `${formatLease(it)}, by ${it.client}`]),
    ...gateways.map((it): InspectRow => ['gateway', it]),
    ...(hostEnd === undefined ? [] : [['host end', `${hostEnd.name}, ${hostEnd.up ? 'up' : 'down'}${port}`] as const]),
    ...entry.outside,
    ...entry.missing.map((it): InspectRow => ['missing', `${it}: make it again with the command below`]),
    ...(entry.firewall ?? []).map((it): InspectRow => ['firewall', it]),
    ...(command === undefined ? [] : [['made by', command] as const]),
    ...(entry.file === undefined ? [] : [['from', entry.file] as const]),
    ['undo', undo],
  ]
}

function formatRows(rows: readonly InspectRow[]): readonly string[] {
  return rows.map(([key, value], index) => `  ${(rows[index - 1]?.[0] === key ? '' : key).padEnd(9)} ${value}`)
}

function formatRoute({ dst, words }: GuestRoute): string {
  return [dst, ...words].join(' ')
}

/** The inspect view as text. */
export function formatInspectView(page: InspectView): string {
  const { attachments, state, rules = [], why } = page
  const ours = attachments.map(({ inGuest }) => inGuest?.name)
  const others = (state?.links ?? []).filter(({ name }) => name !== 'lo' && !ours.includes(name))
  const sections = [
    formatTitle(page),
    ...attachments.map((entry) => {
      const { ifname, inGuest } = entry
      const missing = state === undefined ? '' : '  is not there'
      return [
        `${ifname}${inGuest === undefined ? missing : `  ${formatLinkState(inGuest)}`}`,
        ...formatRows(toInspectRows(entry)),
      ]
    }),
    ...others.map((link) => [
      `${link.name}  ${formatLinkState(link)}, not pipework's`,
      ...formatRows(listAddressTexts([], link).map((it): InspectRow => ['address', it])),
    ]),
    ...((state?.routes.length ?? 0) > 0
      ? [['routes', ...(state?.routes ?? []).map((it) => `  ${formatRoute(it)}`)]]
      : []),
    ...(rules.length > 0 ? [['rules', ...rules.map((it) => `  ${it}`)]] : []),
    ...(attachments.length === 0 ? [['nothing is attached by pipework']] : []),
    ...(why === undefined ? [] : [[`not shown: ${why.message}`]]),
  ]
  return sections.map((lines) => `${lines.join('\n')}\n`).join('\n')
}
