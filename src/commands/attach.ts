import { parseSeconds } from '../model/address'
import { usageError } from '../model/errors'
import { type AttachRequest, toRequest } from '../model/request'
import { awaitGuest, pinGuest } from '../runtimes/find'
import { resolveHostif } from '../state/host-links'
import { createAhead } from '../system/ahead'
import type { Pin } from '../system/types'
import { type Call, type Outcome, refuseUnlessRoot, type Typed } from '../ui/command'

/** The request in a line of the main form. Throws usage errors, asks no host. */
export function readRequest(typed: Typed): AttachRequest {
  return toRequest(typed.words, {
    direct: typed.flag('direct-phys'),
    kind: typed.text('kind'),
    mode: typed.text('mode'),
    i: typed.text('i'),
    l: typed.text('l'),
    a: typed.text('a'),
    routes: typed.texts('route'),
    metric: typed.text('metric'),
    defaultRoute: !typed.flag('no-default-route'),
    policyRoute: typed.flag('policy-route'),
    mtu: typed.text('mtu'),
    txOffload: typed.text('tx-offload'),
    dhcpTimeout: typed.text('dhcp-timeout'),
    dhcpOnce: typed.flag('dhcp-once'),
    dhcpDns: typed.flag('dhcp-dns'),
    probe: !typed.flag('no-probe'),
    vlanFiltering: typed.flag('vlan-filtering'),
    firewall: typed.text('firewall'),
    strict: typed.flag('strict'),
    bridgeAddress: typed.text('bridge-address'),
    nat: typed.text('nat'),
    publish: typed.texts('publish'),
    hostAccess: typed.flag('host-access'),
    force: typed.flag('force'),
  })
}

/** The main form: makes the attachment that the words ask for true. */
export async function run(call: Call): Promise<Outcome> {
  const { host, io } = call
  const request = resolveHostif(readRequest(call), host)
  const limit = parseSeconds(call.text('wait-guest') ?? '0', '--wait-guest')
  if (call.text('confirm') !== undefined && request.uplink === undefined)
    throw usageError(
      `--confirm is of an uplink, and '${request.hostif}' is asked for without one`,
      `Write ${request.hostif}@eth0, or leave --confirm out.`,
    )
  refuseUnlessRoot(call)
  const ahead = createAhead(host)
  // It starts while the question is put together, sent and answered.
  if (host.isRoot && !call.flag('dry-run')) ahead.start()
  let pin: Pin | undefined
  try {
    const asking = awaitGuest(request.guest, host, { limit, interrupt: io.interrupt })
    // When it is out: what does the rest takes as long to load as the answer to come.
    const [guest, { attach }] = await Promise.all([asking, host.sleep(0).then(() => import('./attached'))])
    pin = host.isRoot ? pinGuest(guest, host) : undefined
    return await attach(request, { guest, pin, ahead }, call)
  } finally {
    ahead.dismiss()
    pin?.release()
  }
}
