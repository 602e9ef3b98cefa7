import { PipeworkError } from '../../model/errors'
import { ip, type Plan, rows } from '../../plan/step'
import { BIRTHMARK, MADE_RECORD } from '../../state/record'
import type { Live } from './current'
import type { Need, Shim } from './need'
import { writeSysctls } from './sysctls'

/** What is not there yet of a link of the host beside the guests' on their NIC: it, its record, or that it is up. */
export function planShims({ shims }: Need, { links }: Live): Plan {
  const wanted = new Map(shims.map((shim) => [shim.name, shim]))
  return [...wanted.values()].flatMap((shim) => {
    const link = links.find(({ name }) => name === shim.name)
    if (link !== undefined && link.shim?.parent !== shim.parent)
      throw new PipeworkError(`--host-access needs the name '${shim.name}', and something else has it`, {
        hint: `See what it is: ip -d link show ${shim.name}`,
      })
    return completeShim(shim, link?.shim)
  })
}

function completeShim(
  { name, parent, kind, mode }: Shim,
  live: NonNullable<Live['links'][number]['shim']> | undefined,
): Plan {
  return rows(
    live === undefined && {
      why: `create ${name}, past which the host reaches the guests on ${parent}`,
      command: ip`link add link ${parent} name ${name} group ${BIRTHMARK} type ${kind} mode ${mode}`,
      undo: ip`link del dev ${name}`,
    },
    !live?.isRecorded && {
      why: `record that pipework made ${name}`,
      command: ip`link set dev ${name} group 0 alias ${MADE_RECORD}`,
    },
    !live?.up && { why: `bring ${name} up`, command: ip`link set dev ${name} up` },
  )
}

/** Removes those past which nobody is reached any more. */
export function dropShims({ shims }: Need, live: Live): Plan {
  return live.links.flatMap(({ shim }) => {
    if (shim === undefined || shims.some(({ name }) => name === shim.name)) return []
    const { name, parent, kind, mode, mac } = shim
    const settings = ['forwarding', 'proxy_ndp'].map((setting) => `net/ipv6/conf/${name}/${setting}`)
    const set = settings.filter((key) => live.sysctl(key) === '1')
    return [
      {
        why: `remove ${name}: no guest is reached past it`,
        command: ip`link del dev ${name}`,
        undo: [
          ip`link add link ${parent} name ${name} address ${mac} type ${kind} mode ${mode}`,
          ip`link set dev ${name} alias ${MADE_RECORD}`,
          ip`link set dev ${name} up`,
          ...(set.length === 0 ? [] : [writeSysctls(set.map((key) => [key, '1']))]),
        ],
      },
    ]
  })
}
