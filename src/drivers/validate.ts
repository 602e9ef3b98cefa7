import { PipeworkError } from '../model/errors'
import type { Step } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { formatGuest } from '../state/record'

/** Refuses to create a link when the guest has one of that name that pipework did not create. */
export function validateNoForeignLink({ request, guest, facts: { inGuest } }: AttachContext): void {
  if (inGuest === undefined) return
  throw new PipeworkError(
    `'${guest.name}' already has an interface '${request.ifname}', and pipework did not make it`,
    {
      hint: `It is a ${inGuest.kind} with the address ${inGuest.addresses[0]?.ip ?? 'none'}. Choose another name: -i eth2, for example.`,
    },
  )
}

/** Refuses an MTU that the kernel rejects, or that removes the link's IPv6 addresses. */
export function validateMtu(
  { request, facts }: AttachContext,
  parent?: { readonly name: string; readonly mtu: number },
): void {
  const { mtu, ifname } = request
  if (mtu === undefined) return
  if (parent !== undefined && mtu > parent.mtu)
    throw new PipeworkError(`--mtu '${mtu}': '${ifname}' hangs on '${parent.name}', whose MTU is ${parent.mtu}`, {
      hint: `What is larger cannot leave by it. Raise that first: ip link set dev ${parent.name} mtu ${mtu}`,
    })
  const address6 = facts.inGuest?.addresses.find(({ family, automatic }) => family === 6 && !automatic)
  if (mtu < 1280 && address6 !== undefined)
    throw new PipeworkError(`--mtu '${mtu}': '${ifname}' has the address ${address6.ip}, and IPv6 needs 1280`, {
      hint: 'The kernel would take IPv6 from the interface. Attach it without IPv6 first, then with that MTU.',
    })
}

/** Refuses --tx-offload when the guest's interface is not a veth: the NIC's own offload cannot be changed. */
export function validateTxOffload({ request: { txOffload, hostif } }: AttachContext, what: string): void {
  if (txOffload === undefined) return
  throw new PipeworkError(`--tx-offload '${txOffload}': ${what} does what '${hostif}' does`, {
    hint: `Change it there: ethtool -K ${hostif} tx ${txOffload}`,
  })
}

/** Refuses to recreate the link, which breaks its connections, unless the user requests it. */
export function validateRecreate({ request, guest }: AttachContext, difference: string): void {
  if (request.force) return
  throw new PipeworkError(`'${request.ifname}' of '${guest.name}' ${difference}`, {
    hint: `Take it away first (pipework disconnect ${formatGuest(guest)} ${request.ifname}), or change it with --force.`,
  })
}

/** Explains the failure when the kernel lacks this kind of link. */
export function explainMissingModule(kind: string): NonNullable<Step['explainFailure']> {
  return ({ stderr }) =>
    /Unknown device type|not supported/i.test(stderr)
      ? {
          message: `this kernel has no links of the kind ${kind}`,
          hint: `Its module is missing: modprobe ${kind === 'vlan' ? '8021q' : kind}`,
        }
      : undefined
}
