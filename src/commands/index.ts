import type { CommandTable } from '../ui/command-spec'
import { type CommandModule, GLOBAL_OPTIONS } from './types'

/** The commands by their words, loaded when they are needed; the main form has no word. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  '': () => import('./attach').then(({ attach }) => attach),
  ls: () => import('./ls').then(({ ls }) => ls),
  inspect: () => import('./inspect').then(({ inspect }) => inspect),
  diagram: () => import('./diagram').then(({ diagram }) => diagram),
  disconnect: () => import('./disconnect').then(({ disconnect }) => disconnect),
  uplink: () => import('./uplink').then(({ uplink }) => uplink),
  up: () => import('./up').then(({ up }) => up),
  down: () => import('./down').then(({ down }) => down),
  diff: () => import('./diff').then(({ diff }) => diff),
  save: () => import('./save').then(({ save }) => save),
  route: () => import('./exec').then(({ route }) => route),
  rule: () => import('./exec').then(({ rule }) => rule),
  tc: () => import('./exec').then(({ tc }) => tc),
  exec: () => import('./exec').then(({ exec }) => exec),
  netns: () => import('./netns').then(({ netns }) => netns),
  watch: () => import('./watch').then(({ watch }) => watch),
  service: () => import('./service').then(({ service }) => service),
  doctor: () => import('./doctor').then(({ doctor }) => doctor),
  '--wait': () => import('./wait').then(({ wait }) => wait),
  help: () => import('./help').then(({ help }) => help),
  completion: () => import('./completion').then(({ completion }) => completion),
  __complete: () => import('./complete').then(({ complete }) => complete),
  __dhcp: () => import('./dhcp').then(({ dhcp }) => dhcp),
}

/** The command of that word, or undefined. */
export function loadCommand(word: string): Promise<CommandModule> | undefined {
  return Object.hasOwn(COMMANDS, word) ? COMMANDS[word]?.() : undefined
}

/** All commands, the main form first. */
export async function loadCommands(): Promise<readonly CommandModule[]> {
  return Promise.all(Object.values(COMMANDS).map((load) => load()))
}

/** Headings for the options of the main form; the first is for options that none names. */
const OPTION_GROUPS: CommandTable['groups'] = {
  Interface: ['i', 'l', 'mtu', 'tx-offload', 'kind', 'mode', 'direct-phys', 'vlan-filtering', 'host-access'],
  'Addresses and routes': ['a', 'metric', 'no-default-route', 'route', 'policy-route', 'no-probe'],
  DHCP: ['dhcp-timeout', 'dhcp-once', 'dhcp-dns'],
  Host: ['bridge-address', 'nat', 'publish', 'firewall', 'strict', 'confirm', 'write-unmanaged'],
  'This run': ['wait-guest', 'force', 'dry-run', 'verbose', 'quiet', 'json', 'help', 'version'],
}

/** Everything that can be typed, for help and completion. */
export async function loadCommandTable(): Promise<CommandTable> {
  return { commands: await loadCommands(), options: GLOBAL_OPTIONS, groups: OPTION_GROUPS }
}
