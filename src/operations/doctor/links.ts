import type { Finding } from './findings'
import {
  type DoctorAttachment,
  type DoctorLink,
  type DoctorState,
  formatGuestExec,
  listAttachmentsOn,
  listBridgePorts,
  listBridges,
} from './state'

/** Finds bridges, ports and links whose state stops traffic. */
export function findLinkProblems(survey: DoctorState, bridges: readonly string[]): readonly Finding[] {
  const own = listBridges(survey).filter(({ name }) => bridges.includes(name))
  return [
    ...own.flatMap((bridge) => [
      ...findDownLinks(bridge, survey),
      ...findAddressedPorts(bridge, survey),
      ...findStpLearning(bridge, survey),
      ...findMtuMismatch(bridge, survey),
    ]),
    ...survey.attachments.flatMap((seat) => findEndProblems(seat, survey)),
  ]
}

function describeDownLink(name: string, what: string, about: readonly string[]): Finding {
  return {
    id: what === 'bridge' ? 'bridge-down' : 'port-down',
    severity: 'error',
    line: `the ${what} '${name}' is down`,
    evidence: `ip link show ${name}: no flag UP`,
    command: `ip link set dev ${name} up`,
    about,
  }
}

function findDownLinks(bridge: DoctorLink, survey: DoctorState): readonly Finding[] {
  const guests = listAttachmentsOn(bridge.name, survey).map(({ guest }) => guest)
  const ports = listBridgePorts(bridge.name, survey).filter(({ isUp }) => !isUp)
  return [
    ...(bridge.isUp ? [] : [describeDownLink(bridge.name, 'bridge', [bridge.name, ...guests])]),
    ...ports.map(({ name }) =>
      describeDownLink(name, `port of '${bridge.name}'`, [bridge.name, ...listGuestsBehind(name, survey)]),
    ),
  ]
}

/** The guest behind a port; for the uplink, all guests of the bridge. */
function listGuestsBehind(port: string, survey: DoctorState): readonly string[] {
  const own = survey.attachments.filter(({ hostEnd }) => hostEnd?.name === port)
  const bridge = survey.links.find(({ name }) => name === port)?.master ?? ''
  return (own.length > 0 ? own : listAttachmentsOn(bridge, survey)).map(({ guest }) => guest)
}

/**
 * A bridge receives all frames of its ports, so an address on a port only works until the neighbours' caches expire.
 */
function findAddressedPorts(bridge: DoctorLink, survey: DoctorState): readonly Finding[] {
  const guests = listAttachmentsOn(bridge.name, survey).map(({ guest }) => guest)
  return listBridgePorts(bridge.name, survey).flatMap(({ name, addresses }): readonly Finding[] => {
    const own = addresses.filter(({ isLinkLocal }) => !isLinkLocal)
    if (own.length === 0) return []
    return [
      {
        id: 'address-on-port',
        severity: 'error',
        line: `'${name}' is a port of '${bridge.name}', and has addresses that the bridge should have`,
        evidence: `${own.map(({ ip, prefix }) => `${ip}/${prefix}`).join(', ')} on ${name}`,
        command: `ip link set dev ${name} nomaster && pipework uplink add ${bridge.name} ${name}`,
        advice: 'This moves the addresses with their routes, and puts all back when the gateway does not answer then:',
        about: [bridge.name, ...guests],
      },
    ]
  })
}

/** With spanning tree, a port listens and learns for twice the forward delay before it forwards. */
function findStpLearning(bridge: DoctorLink, survey: DoctorState): readonly Finding[] {
  const waiting = listBridgePorts(bridge.name, survey).filter(
    ({ isUp, portState = '' }) => isUp && ['listening', 'learning'].includes(portState),
  )
  if (waiting.length === 0) return []
  const states = waiting.map(({ name }) => `bridge link set dev ${name} state 3`)
  return [
    {
      id: 'stp-learning',
      severity: 'error',
      line: `spanning tree of '${bridge.name}' lets nothing pass by ${waiting.map(({ name }) => name).join(', ')} yet`,
      evidence: waiting.map(({ name, portState }) => `${name} is ${portState}`).join(', '),
      command: [`ip link set dev ${bridge.name} type bridge stp_state 0`, ...states].join(' && '),
      advice: 'Or wait: 30 seconds with the default delay. Without spanning tree no loop is found.',
      about: [bridge.name, ...waiting.flatMap(({ name }) => listGuestsBehind(name, survey))],
    },
  ]
}

/** A bridge neither fragments nor reports frames that are too large for another port. */
function findMtuMismatch(bridge: DoctorLink, survey: DoctorState): readonly Finding[] {
  const seats = listAttachmentsOn(bridge.name, survey)
  const sizes = [
    ...listBridgePorts(bridge.name, survey).map(({ name, mtu }) => ({ name, mtu })),
    ...seats.flatMap(({ guest, inGuest: link }) =>
      link === undefined ? [] : [{ name: `${link.name} of ${guest}`, mtu: link.mtu }],
    ),
    ...(bridge.addresses.some(({ isLinkLocal }) => !isLinkLocal) ? [{ name: bridge.name, mtu: bridge.mtu }] : []),
  ]
  const least = sizes.reduce((a, b) => (b.mtu < a.mtu ? b : a), sizes[0] ?? { name: '', mtu: 0 })
  return seats.flatMap((seat): readonly Finding[] => {
    const link = seat.inGuest
    if (link === undefined || link.mtu <= least.mtu) return []
    return [
      {
        id: 'mtu-shrinks',
        severity: 'error',
        line: `${link.name} of '${seat.guest}' sends packets of ${link.mtu} bytes, and on '${bridge.name}' only ${least.mtu} pass everywhere`,
        evidence: `the MTU of ${least.name} is ${least.mtu}`,
        command: formatGuestExec(seat, 'ip', 'link', 'set', 'dev', link.name, 'mtu', `${least.mtu}`),
        about: [bridge.name, seat.guest],
      },
    ]
  })
}

function findEndProblems(seat: DoctorAttachment, survey: DoctorState): readonly Finding[] {
  const { attachment, hostEnd, inGuest: link, guest } = seat
  const { hostif, ifname } = attachment.record
  const about = [hostif, guest]
  const isBridge = survey.links.some(({ name, kind }) => name === hostif && kind === 'bridge')
  const found: Finding[] = []
  if (link !== undefined && !link.isUp)
    found.push({
      id: 'port-down',
      severity: 'error',
      line: `'${link.name}' of '${guest}' is down inside the guest`,
      evidence: 'no flag UP',
      command: formatGuestExec(seat, 'ip', 'link', 'set', 'dev', link.name, 'up'),
      about,
    })
  if (hostEnd !== undefined && isBridge && hostEnd.master !== hostif)
    found.push({
      id: 'port-away',
      severity: 'error',
      line: `${ifname} of '${guest}' was attached to '${hostif}', and its end in the host is ${hostEnd.master === undefined ? 'on no bridge' : `on '${hostEnd.master}'`}`,
      evidence: `ip link show ${hostEnd.name}: ${hostEnd.master === undefined ? 'no master' : `master ${hostEnd.master}`}`,
      command: `ip link set dev ${hostEnd.name} master ${hostif}`,
      about,
    })
  if (hostEnd !== undefined && !hostEnd.isUp && hostEnd.master === undefined)
    found.push(describeDownLink(hostEnd.name, `host end of ${ifname} of '${guest}'`, about))
  return found
}
