import { explainMissing } from '../../drivers/claim'
import { ip, type Plan, rows, type Step } from '../../plan/step'
import type { LinkState, Snapshot } from '../../state/host'
import { idOf, pickDistinct } from '../../state/link-config'
import { MADE_RECORD } from '../../state/record'
import { enslave, flush, hasOthers, planShift, release, shape, turnLroOn } from './move-config'
import type { UplinkFacts } from './read'
import { type Journal, journalFile } from './state-file'

/** What is to be written down before the first change. */
export function toJournal(facts: UplinkFacts, files: readonly string[]): Journal {
  const { bridge, nic, link, now, vlan, lro } = facts
  const [state, bridgeState] = [now.links.get(nic), now.links.get(bridge)]
  const shapeOf = ({ up, mtu, mac, genmode }: LinkState) => ({ up, mtu, mac, ...(genmode && { genmode }) })
  return {
    ...{ bridge, nic, way: 'in', stage: 'moving', takenAt: now.takenAt, lro, files },
    holdings: pickDistinct(state?.holdings ?? []),
    nicWas: state === undefined ? { up: false, mtu: link?.mtu ?? 0, mac: link?.mac ?? '' } : shapeOf(state),
    bridgeWas: bridgeState === undefined ? undefined : shapeOf(bridgeState),
    bridgeHad: bridgeState?.holdings.map(idOf) ?? [],
    vlan: vlan === undefined || vlan.isThere ? undefined : { nic: link?.name ?? '', id: vlan.id },
  }
}

/** The steps that put the NIC into the bridge, with all that it has, and see whether that works. */
export function planUplink(facts: UplinkFacts, journal: Journal): Plan {
  const { bridge, nic, sysctls, bridgeLink, now } = facts
  const { holdings, nicWas, bridgeHad } = journal
  // A kernel without IPv6 knows no such mode.
  const genmode = (name: string, mode: string) => hasIpv6(now) && shape(name, ['addrgenmode', mode])
  return rows(
    planVlan(facts, journal),
    planBridge(facts, journal),
    bridgeLink === undefined &&
      sysctls.length > 0 && {
        why: `give ${bridge} the sysctls of ${nic}`,
        command: { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...sysctls] },
      },
    bridgeLink?.up !== true && rows(genmode(bridge, 'none'), shape(bridge, ['up'])),
    // A port needs no address of its own.
    genmode(nic, 'none'),
    !nicWas.up && shape(nic, ['up']),
    planShift({
      ...{ from: nic, to: bridge, holdings, age: 0, keeps: bridgeHad, swap: enslave(nic, bridge) },
      live: { from: now.links.get(nic), to: undefined },
    }),
    genmode(bridge, journal.bridgeWas?.genmode ?? nicWas.genmode ?? 'eui64'),
    planProof(facts, { from: nic, to: bridge }),
  )
}

const hasIpv6 = ({ links }: Snapshot) => links.get('lo')?.genmode !== undefined

function planVlan({ nic, link }: UplinkFacts, { vlan }: Journal): Plan {
  if (vlan === undefined || link === undefined) return []
  return rows(
    !link.up && shape(link.name, ['up']),
    {
      why: `create ${nic} for VLAN ${vlan.id} of ${link.name}`,
      command: ip`link add link ${link.name} name ${nic} type vlan id ${vlan.id}`,
      explain: explainMissing('vlan'),
    },
    {
      why: `record that pipework made ${nic}`,
      command: ip`link set dev ${nic} alias ${MADE_RECORD}`,
    },
  )
}

/** A new bridge has the address and the MTU of the NIC: so nobody on the LAN sees a difference. */
function planBridge({ bridge, bridgeLink, nic, now, link }: UplinkFacts, { nicWas, bridgeWas }: Journal): Plan {
  const mac = nicWas.mac || link?.mac || ''
  if (bridgeLink === undefined || bridgeWas === undefined)
    return [
      {
        why: `create the bridge ${bridge}, with the MAC address and MTU of ${nic}`,
        command: ip`link add dev ${bridge} address ${mac} mtu ${nicWas.mtu} type bridge stp_state 0`,
      },
      { why: `record that pipework made ${bridge}`, command: ip`link set dev ${bridge} alias ${MADE_RECORD}` },
    ]
  return rows(
    bridgeWas.mac !== mac && shape(bridge, ['address', mac]),
    // What is larger than the NIC takes would be dropped without a word.
    (bridgeWas.mtu > nicWas.mtu || (bridgeWas.mtu !== nicWas.mtu && !hasOthers(bridge, nic, now))) &&
      shape(bridge, ['mtu', `${nicWas.mtu}`]),
  )
}

/** Seconds that a router has to answer: it is asked three times, once a second. */
const ANSWER_LIMIT = 4

/** Whether the routers answer, out of a cache that knows nothing, and whether the user is still connected. */
function planProof(
  { gateways, sshClient, sshByNic }: Pick<UplinkFacts, 'gateways' | 'sshClient' | 'sshByNic'>,
  { from, to }: { readonly from: string; readonly to: string },
): Plan {
  const answering = gateways.filter(({ answers }) => answers)
  return rows(
    flush(from),
    flush(to),
    answering.map((gateway) => askNeighbour(gateway.ip, to)),
    answering.map(
      (gateway): Step => ({
        why: `wait for the gateway ${gateway.ip} to answer`,
        command: {
          ...{ kind: 'ask', in: 'host', againUntil: 'lladdr', limit: ANSWER_LIMIT },
          argv: ['ip', 'neigh', 'show', 'to', gateway.ip, 'dev', to],
        },
        explain: ({ stdout }) => ({
          message: `the gateway '${gateway.ip}' does not answer on '${to}' (${stdout.trim().split(' ').at(-1) || 'nothing was seen'})`,
          hint: 'So all was put back as it was. Does the switch take one MAC address per port, or does the gateway know another?',
        }),
      }),
    ),
    sshClient !== undefined &&
      sshByNic && {
        why: `see that you, at ${sshClient}, are reached by ${to}`,
        command: {
          kind: 'ask',
          in: 'host',
          argv: ['ip', 'route', 'get', sshClient],
          againUntil: ` dev ${to} `,
          limit: 0,
        },
        explain: ({ stdout }) => ({
          message: `'${sshClient}', where you are connected from, is not reached by '${to}'`,
          hint: `The route is: ${stdout.trim().split('\n')[0]}. So all was put back as it was.`,
        }),
      },
  )
}

/** The step that has the kernel look for a neighbour; the answer shows in its cache. */
function askNeighbour(ip_: string, dev: string): Step {
  return { why: `ask for ${ip_} on ${dev}`, command: ip`neigh replace ${ip_} dev ${dev} use` }
}

/** What is known when a NIC is to leave its bridge. */
export interface DownlinkFacts extends Pick<UplinkFacts, 'now' | 'gateways' | 'sshClient' | 'sshByNic'> {
  readonly journal: Journal
}

/** What is to be written down before the NIC leaves: what the bridge has now, but for what was its own. */
export function toDownlinkJournal(journal: Journal, now: Snapshot): Journal {
  const { bridge, bridgeHad } = journal
  const has = now.links.get(bridge)?.holdings.filter((holding) => !bridgeHad.includes(idOf(holding))) ?? []
  return { ...journal, way: 'out', stage: 'moving', takenAt: now.takenAt, holdings: pickDistinct(has) }
}

/** The steps that take the NIC out of the bridge again, with all that the bridge has from it or was given since. */
export function planDownlink(facts: DownlinkFacts): Plan {
  const { nic, bridge, holdings, nicWas, lro } = facts.journal
  const live = facts.now.links.get(nic)
  return rows(
    live !== undefined && live.mtu !== nicWas.mtu && shape(nic, ['mtu', `${nicWas.mtu}`]),
    planShift({
      ...{ from: bridge, to: nic, holdings, age: 0, swap: release(nic) },
      acquaintances: facts.now.links.get(bridge)?.acquaintances ?? [],
      live: { from: facts.now.links.get(bridge), to: live },
    }),
    nicWas.genmode !== undefined && shape(nic, ['addrgenmode', nicWas.genmode]),
    planProof(facts, { from: bridge, to: nic }),
    lro.map(turnLroOn),
    !nicWas.up && shape(nic, ['down']),
  )
}

/** The last steps, when nothing is to be put back any more: what pipework made goes, if nobody uses it. */
export function planForget({ bridge, files }: Journal, leftovers: Plan): Plan {
  return rows(
    leftovers,
    files.map((path): Step => ({ why: `remove ${path}`, command: { kind: 'file', in: 'host', path } })),
    { why: `forget the uplink of ${bridge}`, command: { kind: 'file', in: 'host', path: journalFile(bridge) } },
  )
}
