import { PipeworkError } from '../../model/errors'
import { ip, type Plan, planSteps } from '../../plan/step'
import { OWNED_ALIAS, PENDING_GROUP } from '../../state/record'
import type { CurrentState } from './current'
import type { DesiredState, HostMacvlan } from './need'
import { sysctlWriteCommand } from './sysctls'

/** Creates the host macvlans that are missing, records them, and brings them up. */
export function planHostMacvlans({ hostMacvlans }: DesiredState, { links }: CurrentState): Plan {
  const wanted = new Map(hostMacvlans.map((shim) => [shim.name, shim]))
  return [...wanted.values()].flatMap((shim) => {
    const link = links.find(({ name }) => name === shim.name)
    if (link !== undefined && link.hostMacvlan?.parent !== shim.parent)
      throw new PipeworkError(`--host-access needs the name '${shim.name}', and something else has it`, {
        hint: `See what it is: ip -d link show ${shim.name}`,
      })
    return planHostMacvlan(shim, link?.hostMacvlan)
  })
}

function planHostMacvlan(
  { name, parent, kind, mode }: HostMacvlan,
  live: NonNullable<CurrentState['links'][number]['hostMacvlan']> | undefined,
): Plan {
  return planSteps(
    live === undefined && {
      description: `create ${name}, past which the host reaches the guests on ${parent}`,
      command: ip`link add link ${parent} name ${name} group ${PENDING_GROUP} type ${kind} mode ${mode}`,
      undo: ip`link del dev ${name}`,
    },
    !live?.isRecorded && {
      description: `record that pipework made ${name}`,
      command: ip`link set dev ${name} group 0 alias ${OWNED_ALIAS}`,
    },
    !live?.up && { description: `bring ${name} up`, command: ip`link set dev ${name} up` },
  )
}

/** Removes host macvlans that no attachment needs any more. */
export function planHostMacvlanRemoval({ hostMacvlans }: DesiredState, live: CurrentState): Plan {
  return live.links.flatMap(({ hostMacvlan }) => {
    if (hostMacvlan === undefined || hostMacvlans.some(({ name }) => name === hostMacvlan.name)) return []
    const { name, parent, kind, mode, mac } = hostMacvlan
    const settings = ['forwarding', 'proxy_ndp'].map((setting) => `net/ipv6/conf/${name}/${setting}`)
    const set = settings.filter((key) => live.sysctl(key) === '1')
    return [
      {
        description: `remove ${name}: no guest is reached past it`,
        command: ip`link del dev ${name}`,
        undo: [
          ip`link add link ${parent} name ${name} address ${mac} type ${kind} mode ${mode}`,
          ip`link set dev ${name} alias ${OWNED_ALIAS}`,
          ip`link set dev ${name} up`,
          ...(set.length === 0 ? [] : [sysctlWriteCommand(set.map((key) => [key, '1']))]),
        ],
      },
    ]
  })
}
