import { PipeworkError } from '../model/errors'
import type { AttachContext } from '../state/attach-facts'
import { bridgeDriver } from './bridge'
import { dummyDriver } from './dummy'
import { ipoibDriver } from './ipoib'
import { ipvlanDriver, macvlanDriver } from './macvlan'
import { ovsDriver } from './ovs'
import { physDriver } from './phys'
import { routedDriver } from './routed'
import type { Driver, LinkRemoval } from './types'

/** The kinds of link; the first that matches serves the request. */
const DRIVERS: readonly Driver[] = [
  physDriver,
  ovsDriver,
  bridgeDriver,
  ipoibDriver,
  ipvlanDriver,
  macvlanDriver,
  routedDriver,
  dummyDriver,
]

/** The driver for the requested host interface. Throws when there is none. */
export function findDriver(context: AttachContext): Driver {
  const driver = DRIVERS.find(({ matches }) => matches(context))
  if (driver === undefined) throw noDriverError(context)
  if (!driver.sharesNic) validateNoSharingOptions(context)
  return driver
}

/** Drivers of links without a host end, by the kernel's name for their kind. */
const GUEST_LINK_DRIVERS: Readonly<Record<string, Driver | undefined>> = {
  dummy: dummyDriver,
  ipoib: ipoibDriver,
  ipvlan: ipvlanDriver,
}

/** The driver of an existing link. */
export function findDriverOf({ attachment, ovsRemoval }: LinkRemoval): Driver {
  const { record, hostEnd, inGuest, deadPort } = attachment
  if (record.nic !== undefined) return physDriver
  if (deadPort !== undefined || ovsRemoval !== undefined) return ovsDriver
  if (hostEnd !== undefined) return hostEnd.master === undefined ? routedDriver : bridgeDriver
  return GUEST_LINK_DRIVERS[inGuest?.kind ?? ''] ?? macvlanDriver
}

/** Refuses options that would be ignored. */
function validateNoSharingOptions({ request: { words } }: AttachContext): void {
  const word = words.find((it) => /^--(kind|mode)=/.test(it))
  if (word === undefined) return
  throw new PipeworkError(`'${word}' says how to share a NIC, and this link shares none`, {
    hint: 'Leave it out, or give the name of a NIC as the first argument: ip -br link',
  })
}

function noDriverError({ request: { hostif }, facts }: AttachContext): PipeworkError {
  if (facts.nicElsewhere !== undefined)
    return new PipeworkError(`the NIC '${hostif}' is in '${facts.nicElsewhere.guest}'`, {
      hint: `Bring it back first: pipework disconnect ${facts.nicElsewhere.guest}`,
    })
  const similar = facts.similarNames?.length ? `Did you mean ${facts.similarNames.join(' or ')}?\n` : ''
  const ovs = facts.ovs?.kind === 'silent' ? `\nIf it is an Open vSwitch bridge: ${facts.ovs.message}.` : ''
  return facts.hostif === undefined
    ? new PipeworkError(`there is no interface '${hostif}' on this host`, {
        hint: `${similar}A bridge is created when its name begins with br, like br1, or with ovs. List the interfaces: ip -br link${ovs}`,
      })
    : new PipeworkError(`'${hostif}' is neither a bridge nor a NIC`, {
        hint: `See what it is: ip -d link show ${hostif}`,
      })
}
