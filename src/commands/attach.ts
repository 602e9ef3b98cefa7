import { usageError } from '../model/errors'
import { parseSeconds } from '../model/number'
import { type AttachRequest, parseAttachRequest } from '../model/request'
import { holdGuestNetns, waitForGuest } from '../runtimes/find'
import { resolveHostif } from '../state/host-links'
import type { HeldNetns } from '../system/types'
import { type CommandArgs, type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'

/** The request in a line of the main form. Throws usage errors, asks no host. */
export function parseRequestLine(typed: CommandArgs): AttachRequest {
  return parseAttachRequest(typed.positionals, {
    direct: typed.hasFlag('direct-phys'),
    kind: typed.stringOption('kind'),
    mode: typed.stringOption('mode'),
    i: typed.stringOption('i'),
    l: typed.stringOption('l'),
    a: typed.stringOption('a'),
    routes: typed.stringOptions('route'),
    metric: typed.stringOption('metric'),
    defaultRoute: !typed.hasFlag('no-default-route'),
    policyRoute: typed.hasFlag('policy-route'),
    mtu: typed.stringOption('mtu'),
    txOffload: typed.stringOption('tx-offload'),
    dhcpTimeout: typed.stringOption('dhcp-timeout'),
    dhcpOnce: typed.hasFlag('dhcp-once'),
    dhcpDns: typed.hasFlag('dhcp-dns'),
    probe: !typed.hasFlag('no-probe'),
    vlanFiltering: typed.hasFlag('vlan-filtering'),
    firewall: typed.stringOption('firewall'),
    strict: typed.hasFlag('strict'),
    bridgeAddress: typed.stringOption('bridge-address'),
    nat: typed.stringOption('nat'),
    publish: typed.stringOptions('publish'),
    hostAccess: typed.hasFlag('host-access'),
    force: typed.hasFlag('force'),
  })
}

/** The main form: makes the attachment that the words ask for true. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const { system, io } = call
  const request = resolveHostif(parseRequestLine(call), system)
  const limit = parseSeconds(call.stringOption('wait-guest') ?? '0', '--wait-guest')
  if (call.stringOption('confirm') !== undefined && request.uplink === undefined)
    throw usageError(
      `--confirm is of an uplink, and '${request.hostif}' is asked for without one`,
      `Write ${request.hostif}@eth0, or leave --confirm out.`,
    )
  validateRoot(call)
  let pin: HeldNetns | undefined
  try {
    const asking = waitForGuest(request.guest, system, { timeout: limit, interrupt: io.interrupt })
    // When it is out: what does the rest takes as long to load as the answer to come.
    const [guest, { attachGuest }] = await Promise.all([asking, system.sleep(0).then(() => import('./attached'))])
    pin = system.isRoot ? holdGuestNetns(guest, system) : undefined
    return await attachGuest(request, { guest, pin }, call)
  } finally {
    pin?.release()
  }
}
