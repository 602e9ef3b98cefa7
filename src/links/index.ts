import { bridge } from './bridge'
import { dummy } from './dummy'
import { ipoib } from './ipoib'
import type { LinkKind } from './kind'
import { macvlan } from './macvlan'
import { ovs } from './ovs'
import { phys } from './phys'

/** The kinds of host interface; the first that claims one serves it. */
export const LINK_KINDS: readonly LinkKind[] = [phys, ovs, bridge, ipoib, macvlan, dummy]
