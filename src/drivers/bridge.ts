import { PipeworkError } from '../model/errors'
import { formatVlanSet, type VlanSet } from '../model/vlan'
import { ip, type Plan, planSteps } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { bridgePortsDir } from '../state/host-links'
import { findOvsPort } from '../state/ovsdb'
import { OWNED_ALIAS } from '../state/record'
import { explainVlanFailure, NO_VLAN_FILTERING, planPortVlans, restoreVlanCommands } from './bridge-vlans'
import type { Driver } from './types'
import { planVeth, planVethRemoval, validateVeth } from './veth'

/** A veth pair with its host end on a Linux bridge, which is created when missing and brought up when down. */
export const bridgeDriver: Driver = {
  isBridged: true,

  matches: ({ request, facts: { hostif } }) =>
    hostif === undefined ? request.hostif.startsWith('br') : hostif.kind === 'bridge',

  validate: (context) => {
    validateLinuxBridge(context)
    validateVeth(context, context.request.hostif)
  },

  plan: (context) => [
    ...planLinuxBridge(context),
    ...planVeth(context, {
      master: context.request.hostif,
      planPortVlans: (name) => planPortVlans(context, name),
      restorePortVlans: (name) => restoreVlanCommands(name, context.facts.portVlans),
    }),
  ],

  planRemoval: planVethRemoval,

  isAttached: ({ request }, { master }) => master === request.hostif,

  incompatibility: ({ request, facts }, { kind }) => {
    if (kind !== 'veth') return `is a ${kind}, and not on '${request.hostif}'`
    const port = findOvsPort(facts.ovs, facts.hostEnd?.name)
    return port && `is on '${port.bridge}', an Open vSwitch bridge, and not on '${request.hostif}'`
  },
}

function validateBridgeVlans({ request: { hostif, vlanFiltering }, facts }: AttachContext, vlans: VlanSet): void {
  if (facts.hostif === undefined || facts.hostif.filtering === true) return
  if (facts.hostif.filtering === undefined)
    throw new PipeworkError(NO_VLAN_FILTERING.message, { hint: NO_VLAN_FILTERING.hint })
  if (!vlanFiltering)
    throw new PipeworkError(`'@${formatVlanSet(vlans)}': VLAN filtering is off on the bridge '${hostif}'`, {
      hint: `Turn it on with --vlan-filtering. All its ports are then in VLAN ${facts.hostif.defaultPvid}, and tagged frames no longer pass.`,
    })
}

function validateLinuxBridge(context: AttachContext): void {
  const { request, guest, facts } = context
  if (request.vlan !== undefined) validateBridgeVlans(context, request.vlan)
  if (
    /^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(request.hostif) &&
    facts.hostif !== undefined &&
    !request.force
  )
    throw new PipeworkError(`the bridge '${request.hostif}' is Docker's own`, {
      hint: `Docker gives out the addresses there: docker network connect NETWORK ${guest.name} --ip ADDRESS. To use it anyway: --force.`,
    })
}

/** The MAC address is set: otherwise the bridge takes the lowest of its ports, which changes as they come and go. */
function planLinuxBridge({ request: { hostif, vlan }, facts }: AttachContext): Plan {
  const remove = { ...ip`link del dev ${hostif}`, onlyIfEmpty: bridgePortsDir(hostif) }
  const madeByUs = facts.hostif?.record !== undefined
  return planSteps(
    facts.hostif === undefined && {
      description: `create the bridge ${hostif}`,
      command: ip`link add dev ${hostif} address ${facts.bridgeMac} type bridge stp_state 0 ${vlan !== undefined && ['vlan_filtering', '1']}`,
      undo: remove,
      explainFailure: vlan === undefined ? undefined : explainVlanFailure,
    },
    // A killed run can leave a bridge with our address and no record.
    !madeByUs &&
      (facts.hostif === undefined || facts.hostif.mac === facts.bridgeMac) && {
        description: `record that pipework made ${hostif}`,
        command: ip`link set dev ${hostif} alias ${OWNED_ALIAS}`,
      },
    vlan !== undefined &&
      facts.hostif?.filtering === false && {
        description: `turn on VLAN filtering on ${hostif}: its other ports are in VLAN ${facts.hostif.defaultPvid}, and tagged frames no longer pass`,
        command: ip`link set dev ${hostif} type bridge vlan_filtering 1`,
        undo: ip`link set dev ${hostif} type bridge vlan_filtering 0`,
      },
    facts.hostif?.up !== true && {
      description: `bring ${hostif} up`,
      command: ip`link set dev ${hostif} up`,
      undo: facts.hostif === undefined ? undefined : ip`link set dev ${hostif} down`,
    },
  )
}
