import { PipeworkError } from '../model/errors'
import { formatVlans, type VlanSet } from '../model/vlan'
import { ip, type Plan, rows } from '../plan/step'
import { portsOf } from '../state/host-links'
import { findPort } from '../state/ovsdb'
import { MADE_RECORD } from '../state/record'
import { explainVlans, NO_VLANS, planPort, restoreVlans } from './bridge-vlans'
import type { Context, LinkKind } from './types'
import { planVeth } from './veth'

/** A veth pair with its host end on a Linux bridge. The bridge is made when missing, brought up when down. */
export const bridge: LinkKind = {
  isBridged: true,

  isSeated: ({ request }, { master }) => master === request.hostif,

  misfit: ({ request, facts }, { kind }) => {
    if (kind !== 'veth') return `is a ${kind}, and not on '${request.hostif}'`
    const port = findPort(facts.ovs, facts.hostEnd?.name)
    return port && `is on '${port.bridge}', a bridge of Open vSwitch, and not on '${request.hostif}'`
  },

  plan: (context) => {
    refuse(context)
    return rows(
      planBridge(context),
      planVeth(context, {
        master: context.request.hostif,
        planPort: (name) => planPort(context, name),
        restorePort: (name) => restoreVlans(name, context.facts.port),
      }),
    )
  },
}

function refuseVlans({ request: { hostif, vlanFiltering }, facts }: Context, vlans: VlanSet): void {
  if (facts.hostif === undefined || facts.hostif.filtering === true) return
  if (facts.hostif.filtering === undefined) throw new PipeworkError(NO_VLANS.message, { hint: NO_VLANS.hint })
  if (!vlanFiltering)
    throw new PipeworkError(`'@${formatVlans(vlans)}': the bridge '${hostif}' does not keep VLANs apart`, {
      hint: `To change that, for the traffic of all its ports: --vlan-filtering. They are in VLAN ${facts.hostif.defaultPvid} then, and frames with a tag no longer pass.`,
    })
}

function refuse(context: Context): void {
  const { request, guest, facts } = context
  if (request.vlan !== undefined) refuseVlans(context, request.vlan)
  if (
    /^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(request.hostif) &&
    facts.hostif !== undefined &&
    !request.force
  )
    throw new PipeworkError(`the bridge '${request.hostif}' is Docker's own`, {
      hint: `Docker gives out the addresses there: docker network connect NETWORK ${guest.name} --ip ADDRESS. To use it all the same: --force.`,
    })
}

/** A bridge has a MAC address of its own: otherwise it takes its ports' lowest and changes as they come and go. */
function planBridge({ request: { hostif, vlan }, facts }: Context): Plan {
  const remove = { ...ip`link del dev ${hostif}`, onlyIfEmpty: portsOf(hostif) }
  const madeByUs = facts.hostif?.record !== undefined
  return rows(
    facts.hostif === undefined && {
      why: `create the bridge ${hostif}`,
      command: ip`link add dev ${hostif} address ${facts.bridgeMac} type bridge stp_state 0 ${vlan !== undefined && ['vlan_filtering', '1']}`,
      undo: remove,
      explain: vlan === undefined ? undefined : explainVlans,
    },
    // A run that was killed between the two leaves a bridge with our address and no record.
    !madeByUs &&
      (facts.hostif === undefined || facts.hostif.mac === facts.bridgeMac) && {
        why: `record that pipework made ${hostif}`,
        command: ip`link set dev ${hostif} alias ${MADE_RECORD}`,
      },
    vlan !== undefined &&
      facts.hostif?.filtering === false && {
        why: `let ${hostif} keep VLANs apart: its other ports are in VLAN ${facts.hostif.defaultPvid}, and tags no longer pass`,
        command: ip`link set dev ${hostif} type bridge vlan_filtering 1`,
        undo: ip`link set dev ${hostif} type bridge vlan_filtering 0`,
      },
    facts.hostif?.up !== true && {
      why: `bring ${hostif} up`,
      command: ip`link set dev ${hostif} up`,
      undo: facts.hostif === undefined ? undefined : ip`link set dev ${hostif} down`,
    },
  )
}
