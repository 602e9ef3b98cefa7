import type { CommandSpec, OptionTable } from '../ui/command'

export type { CommandSpec as Subcommand, OptionSpec, OptionTable } from '../ui/command'

// One table, and so longer than other files: what a user can type is read, and kept alike, in one place.

/** Options of every command. */
export const GLOBAL_OPTIONS: OptionTable = {
  json: { summary: 'print one JSON document, for success and for failure' },
  help: { short: 'h', summary: 'show this help' },
  version: { short: 'V', summary: 'show the version' },
}

/** Options of every command that changes something. */
const CHANGE_OPTIONS: OptionTable = {
  'dry-run': { short: 'n', summary: 'print a shell script that does the same, and change nothing' },
  verbose: { short: 'v', summary: 'print each step, with its reason, before it runs' },
  quiet: { short: 'q', summary: 'print nothing when all is well' },
}

/** The main form. */
export const ATTACH_COMMAND: CommandSpec = {
  word: '',
  aliases: ['add', 'attach', 'connect', 'plug', 'create', 'join'],
  synopsis: '<bridge> [-i ifname] [-l hostname] [-a 4|6] <guest> <ip/prefix[@gateway]>[,…] [mac|U:text][@vlan]',
  summary:
    'give a container an interface on a bridge of Linux or Open vSwitch, with addresses, gateway and MAC address',
  argumentHelp: {
    '<bridge>':
      'an interface that exists: a bridge of Linux or Open vSwitch, or a NIC, by name or mac:address; else a bridge to make: br…, ovs…; br0@eth0 for one with an uplink; or one of the words ptp, routed:nic, dummy',
    '<guest>':
      'a container by name or id, of Docker, else of Podman, LXC or containerd; or kind:name, like netns:blue, pid:1234',
    '<ip/prefix[@gateway]>':
      'IPv4 or IPv6, with the prefix in bits or as a netmask; several with commas between; 0/0 for none; or dhcp, udhcpc, dhclient, dhcpcd, dhcp6, slaac',
    '[mac|U:text]': 'the MAC address in the guest, or a text to derive it from; without it, one that stays the same',
    '[@vlan]': 'a VLAN, 1 to 4094; on a bridge also a trunk: @10,20-22',
  },
  options: {
    i: { value: 'ifname', summary: 'name of the interface in the guest (default eth1)' },
    l: { value: 'hostname', summary: "name of the link's end in the host (default: derived, and stable)" },
    a: { value: 'family', summary: 'only the addresses of this family: 4, inet, 6 or inet6' },
    'direct-phys': { summary: 'move the NIC itself into the guest; disconnect brings it back as it was' },
    kind: { value: 'macvlan|ipvlan', summary: 'how to share a NIC (default macvlan)' },
    mode: {
      value: 'mode',
      summary: 'of a macvlan: bridge, private, vepa, passthru, source; of an ipvlan: l2, l3, l3s',
    },
    'vlan-filtering': {
      summary: 'let a bridge that is there keep VLANs apart, which changes the traffic of all its ports',
    },
    metric: { value: 'number', summary: 'metric of the default route, the lowest of several wins' },
    'no-default-route': { summary: 'make no default route of the gateway' },
    route: {
      value: 'network/prefix[,router][,metric]',
      repeatable: true,
      summary: 'one more route, through the gateway unless a router is named; may be repeated',
    },
    'policy-route': { summary: 'let replies to what arrives on the interface leave by it' },
    mtu: { value: 'bytes', summary: 'largest packet (default: that of the bridge or NIC)' },
    'tx-offload': { value: 'on|off', summary: 'off: checksums are complete before a packet leaves the interface' },
    'dhcp-timeout': { value: 'seconds', summary: 'how long a DHCP server may take to answer (default 30)' },
    'dhcp-once': { summary: 'ask for an address once, and do not renew it' },
    'dhcp-dns': { summary: 'tell the guest the DHCP server’s name servers, in its own resolv.conf' },
    'bridge-address': {
      value: 'ip/prefix[,…]',
      summary:
        'addresses of this host on the bridge; removed with the last attachment that asks for them or has one for its gateway',
    },
    nat: {
      value: 'out-interface',
      optional: true,
      summary: 'let the guest reach the outside with an address of this host, by any interface or by that one',
    },
    publish: {
      value: '[ip:]hostport:guestport[/tcp|udp]',
      repeatable: true,
      summary: 'let a port of this host lead to the guest; may be repeated',
    },
    'host-access': { summary: 'let this host and a guest on one of its NICs reach each other' },
    'no-probe': { summary: 'do not ask the LAN whether an address is taken' },
    'wait-guest': { value: 'seconds', summary: 'wait that long for the guest to run' },
    firewall: {
      value: 'allow|warn|off',
      summary:
        "where the host's firewall drops what goes over the bridge: let it pass, say so (default), or do not look",
    },
    strict: { summary: 'refuse where it drops that, before anything is changed' },
    confirm: { value: 'seconds', summary: 'of an uplink: put all back unless `uplink confirm` says that it works' },
    force: { summary: "move the link from another bridge, rename its host end, use Docker's own bridge" },
    ...CHANGE_OPTIONS,
  },
  examples: [
    { line: 'pipework br1 web 192.168.1.10/24@192.168.1.1', does: 'eth1 in web, on br1, with a default route' },
    { line: 'pipework br1 -i eth2 db 10.0.0.2/24,fd00::2/64@fd00::1', does: 'IPv4 and IPv6 on eth2 of db' },
    { line: 'pipework br1 podman:web 10.0.0.3/24', does: 'of Podman; also docker: lxc: nerdctl: netns: pid:' },
    { line: 'pipework br1 web dhcp', does: 'by DHCP, renewed; also udhcpc, dhclient, dhcpcd, dhcp6, slaac' },
    { line: 'pipework br1 web 192.168.10.5/24 @10,20-22', does: 'in VLAN 10, and with tags in 20 to 22' },
    {
      line: 'pipework br0@eth0 web 192.168.1.50/24',
      does: 'br0 gets eth0, with its addresses and routes; web is on the LAN',
    },
    { line: 'pipework br7@vxlan:42,192.0.2.7 web 10.7.0.2/24', does: 'one LAN with br7 of the host 192.0.2.7' },
    {
      line: 'pipework br1 --bridge-address 10.0.0.1/24 --nat web 10.0.0.2/24@10.0.0.1',
      does: 'a bridge on which this host is the router, with NAT to the outside',
    },
    { line: 'pipework ptp --nat --publish 8080:80 web 10.0.0.2/32', does: 'no bridge, and a port of this host' },
    { line: 'pipework routed:wlan0 web 192.168.1.60/32', does: 'an address of the LAN over Wi-Fi' },
    { line: 'pipework dummy web 10.255.0.1/32', does: 'an interface that leads nowhere' },
    { line: 'pipework br2 -i eth2 --metric 200 web 10.0.0.2/24@10.0.0.1', does: 'a second default route' },
    {
      line: 'pipework br2 -i eth2 --policy-route web 10.0.0.2/24@10.0.0.1',
      does: 'what comes by eth2 is answered by it',
    },
    { line: 'pipework --dry-run br1 web 192.168.1.10/24', does: 'the same as a shell script, to read or to keep' },
  ],
  load: () => import('./attach'),
}

/** Headings for the options of the main form; the first is for those that none names. */
export const OPTION_GROUPS: Readonly<Record<string, readonly string[]>> = {
  'The interface': ['i', 'l', 'mtu', 'tx-offload', 'kind', 'mode', 'direct-phys', 'vlan-filtering', 'host-access'],
  'Addresses and routes': ['a', 'metric', 'no-default-route', 'route', 'policy-route', 'no-probe'],
  DHCP: ['dhcp-timeout', 'dhcp-once', 'dhcp-dns'],
  'The host': ['bridge-address', 'nat', 'publish', 'firewall', 'strict', 'confirm', 'write-unmanaged'],
  'The run': ['wait-guest', 'force', 'dry-run', 'verbose', 'quiet', 'json', 'help', 'version'],
}

const LS: CommandSpec = {
  word: 'ls',
  aliases: ['list', 'show', 'status', 'ps', 'links'],
  synopsis: 'ls [guest or bridge]',
  summary: 'list what is attached where, and with what',
  options: {
    filter: { value: 'key=value', repeatable: true, summary: 'only guest=NAME, or bridge=NAME; may be repeated' },
    format: {
      value: 'template',
      summary:
        'a line for each, as a template of Go: {{.Guest}} .Kind .Name .ID .Interface .Addresses .Bridge .HostEnd .MTU .State .Leases .Words {{json .}}; with `table ` in front a table',
    },
  },
  examples: [
    { line: 'pipework ls', does: 'a table of all attachments' },
    { line: 'pipework ls web', does: 'those of web, or on a bridge of that name' },
    { line: 'pipework ls --filter bridge=br1 --format {{.Guest}}', does: 'the guests on br1, for a script' },
    { line: 'pipework ls --json', does: 'everything, for programs' },
  ],
  load: () => import('./ls'),
}

const INSPECT: CommandSpec = {
  word: 'inspect',
  aliases: ['info', 'describe', 'details'],
  synopsis: 'inspect <guest>',
  summary: 'show all there is to know of the network of a guest on one page',
  options: {},
  examples: [
    { line: 'pipework inspect web', does: 'interfaces, addresses, routes, and the commands that make and undo them' },
    { line: 'pipework inspect web --json', does: 'the same for programs' },
    { line: 'pipework inspect netns:router', does: 'of a namespace of ip netns' },
  ],
  load: () => import('./inspect'),
}

const DIAGRAM: CommandSpec = {
  word: 'diagram',
  aliases: ['graph', 'draw', 'tree', 'topology', 'map'],
  synopsis: 'diagram',
  summary: 'draw the bridges and NICs with what is attached to them, as a tree of text or as a picture',
  options: {
    dot: { summary: 'in the language of Graphviz' },
    svg: { summary: 'as an SVG picture' },
  },
  examples: [
    { line: 'pipework diagram', does: 'a tree' },
    { line: 'pipework diagram --svg', does: 'a picture for a wiki: pipework diagram --svg > lan.svg' },
    { line: 'pipework diagram --dot', does: 'for dot -Tpng, and for changes by hand' },
  ],
  load: () => import('./diagram'),
}

const DISCONNECT: CommandSpec = {
  word: 'disconnect',
  aliases: ['rm', 'remove', 'del', 'delete', 'detach', 'unplug', 'clear', 'undo'],
  synopsis: 'disconnect <guest> [ifname]',
  summary: 'take attachments away, and put back the routes they replaced',
  options: CHANGE_OPTIONS,
  examples: [
    { line: 'pipework disconnect web', does: 'everything that pipework attached to web' },
    { line: 'pipework disconnect web eth2', does: 'only eth2' },
    { line: 'pipework --dry-run disconnect web', does: 'what that would do, as a shell script' },
  ],
  load: () => import('./disconnect'),
}

const UP: CommandSpec = {
  word: 'up',
  aliases: ['apply', 'sync', 'load', 'restore'],
  synopsis: 'up <file>… [--prune] [--wait-guest seconds]',
  summary: 'make true what files ask for, one attachment in a line, as one types it after pipework',
  options: {
    prune: { summary: 'take away what these files have made, and have no longer' },
    'wait-guest': { value: 'seconds', summary: 'wait that long for guests that do not run' },
    ...CHANGE_OPTIONS,
  },
  examples: [
    { line: 'pipework up lan.pipework', does: 'attaches what is missing, changes what differs' },
    { line: 'pipework up --prune lan.pipework', does: 'and takes away what was deleted in the file' },
    { line: 'pipework up --dry-run lan.pipework', does: 'what that would do, as a shell script' },
  ],
  load: () => import('./up'),
}

const DOWN: CommandSpec = {
  word: 'down',
  synopsis: 'down <file>…',
  summary: 'take away what files ask for',
  options: CHANGE_OPTIONS,
  examples: [
    { line: 'pipework down lan.pipework', does: 'all that the file has is detached' },
    { line: 'pipework down --dry-run lan.pipework', does: 'what that would do, as a shell script' },
    { line: 'pipework down --quiet lan.pipework', does: 'without a word, for a script: the exit code tells' },
  ],
  load: () => import('./down'),
}

const DIFF: CommandSpec = {
  word: 'diff',
  aliases: ['plan', 'compare'],
  synopsis: 'diff <file>… [--prune]',
  summary: 'print what `up` would do; exit code 0 when that is nothing, 1 when it is something',
  options: { prune: { summary: 'also what `up --prune` would take away' } },
  examples: [
    { line: 'pipework diff lan.pipework', does: 'the steps that are missing, line by line' },
    { line: 'pipework diff --prune lan.pipework', does: 'and what was deleted in the file, and is still there' },
    { line: 'pipework diff lan.pipework --json', does: 'the same for programs' },
  ],
  load: () => import('./diff'),
}

const SAVE: CommandSpec = {
  word: 'save',
  aliases: ['export', 'dump', 'store'],
  synopsis: 'save',
  summary: 'print what is attached now, as a file for `up`',
  options: {},
  examples: [
    { line: 'pipework save', does: 'one line for each attachment, to read' },
    { line: 'pipework save > lan.pipework', does: 'as a file, for pipework up' },
    { line: 'pipework save --json', does: 'the lines for programs' },
  ],
  load: () => import('./save'),
}

const UPLINK: CommandSpec = {
  word: 'uplink',
  synopsis: 'uplink add <bridge> <nic> [@vlan] | uplink confirm <bridge> | uplink del <bridge> | uplink ls',
  summary: "put the host's NIC into a bridge, with its addresses and routes, and take it out again",
  options: {
    confirm: { value: 'seconds', summary: 'put all back unless `uplink confirm` says within that time that it works' },
    'write-unmanaged': {
      summary: 'write the file that keeps NetworkManager or systemd-networkd off, until the next boot',
    },
    force: { summary: 'go on where somebody else manages the NIC, or its gateway does not answer' },
    ...CHANGE_OPTIONS,
  },
  examples: [
    { line: 'pipework uplink add br0 eth0', does: 'eth0 is a port of br0, which has its addresses and routes' },
    { line: 'pipework uplink add br0 eth0 --confirm 60', does: 'put back after a minute, unless confirmed' },
    { line: 'pipework uplink confirm br0', does: 'it works: keep it' },
    { line: 'pipework uplink add br63 eth0 @63', does: 'VLAN 63 of eth0' },
    { line: 'pipework uplink del br0', does: 'eth0 has its addresses and routes again' },
    { line: 'pipework uplink ls', does: 'which bridge has which uplink' },
  ],
  load: () => import('./uplink'),
}

/** Options of the words that run a program in the guest's network namespace. */
const PASS_THROUGH_OPTIONS: OptionTable = {
  'wait-guest': { value: 'seconds', summary: 'wait that long for the guest to run' },
  'dry-run': { short: 'n', summary: 'print a shell script that does the same, and run nothing' },
}

const FAMILY_OPTION: OptionTable = {
  a: { value: 'family', summary: 'the family to speak of: 4, inet, 6 or inet6' },
}

const ROUTE: CommandSpec = {
  word: 'route',
  synopsis: 'route [-a 4|6] <guest> <words…>',
  summary: '`ip route` in the network of a guest, the words passed on as they are',
  options: { ...FAMILY_OPTION, ...PASS_THROUGH_OPTIONS },
  examples: [
    { line: 'pipework route web add 10.2.0.0/16 via 192.168.1.254', does: 'one more route for web' },
    { line: 'pipework route web get 10.2.0.1', does: 'which way web would take there' },
    { line: 'pipework route -a 6 web show', does: 'its IPv6 routes' },
  ],
  passThrough: true,
  load: () => import('./exec').then(({ route }) => route),
}

const RULE: CommandSpec = {
  word: 'rule',
  synopsis: 'rule [-a 4|6] <guest> <words…>',
  summary: '`ip rule` in the network of a guest, the words passed on as they are',
  options: { ...FAMILY_OPTION, ...PASS_THROUGH_OPTIONS },
  examples: [
    { line: 'pipework rule web add from 192.168.1.10 table 100', does: 'another table for what comes from there' },
    { line: 'pipework rule web show', does: 'its rules, in the order in which they are asked' },
    { line: 'pipework rule -a 6 web show', does: 'the IPv6 rules of web' },
  ],
  passThrough: true,
  load: () => import('./exec').then(({ rule }) => rule),
}

const TC: CommandSpec = {
  word: 'tc',
  synopsis: 'tc <guest> <words…>',
  summary: '`tc` in the network of a guest, the words passed on as they are',
  options: PASS_THROUGH_OPTIONS,
  examples: [
    {
      line: 'pipework tc web qdisc add dev eth1 root tbf rate 1mbit burst 32k latency 50ms',
      does: 'what web sends, at 1 Mbit/s',
    },
    { line: 'pipework tc web -s qdisc show dev eth1', does: 'the queues of eth1, with their counters' },
    { line: 'pipework tc web qdisc del dev eth1 root', does: 'as fast as before' },
  ],
  passThrough: true,
  load: () => import('./exec').then(({ tc }) => tc),
}

const EXEC: CommandSpec = {
  word: 'exec',
  aliases: ['run', 'enter', 'nsenter', 'sh'],
  synopsis: 'exec <guest> <command> [args…]',
  summary: "run a program of the host in the network of a guest; the exit code is the program's own",
  options: PASS_THROUGH_OPTIONS,
  examples: [
    { line: 'pipework exec web tcpdump -i eth1', does: 'listen to web, which has no tcpdump' },
    { line: 'pipework exec web sh', does: 'a shell of the host with the interfaces of web' },
    { line: 'pipework --wait-guest 30 exec web ping -c 1 192.168.1.1', does: 'as soon as web runs' },
  ],
  passThrough: true,
  load: () => import('./exec').then(({ exec }) => exec),
}

const NETNS: CommandSpec = {
  word: 'netns',
  synopsis: 'netns <guest> [name] | netns --prune',
  summary: "name a guest's network namespace for `ip netns exec`, until the guest stops",
  options: {
    prune: { summary: 'remove the names in /run/netns that lead nowhere any more' },
    'wait-guest': { value: 'seconds', summary: 'wait that long for the guest to run' },
    ...CHANGE_OPTIONS,
  },
  examples: [
    { line: 'pipework netns web', does: 'from now on: ip netns exec web ip address' },
    { line: 'pipework netns web blue', does: 'under another name: ip -n blue link' },
    { line: 'pipework netns --prune', does: 'away with the names of guests that are gone' },
  ],
  load: () => import('./netns'),
}

const WAIT: CommandSpec = {
  word: '--wait',
  aliases: ['wait'],
  synopsis: '--wait [-i ifname] [--timeout seconds] [--for up|carrier|addr|route]',
  summary: 'inside a container: wait until it has its interface; needs neither root nor ip',
  options: {
    wait: { summary: 'wait for an interface of the namespace that this runs in' },
    i: { value: 'ifname', summary: 'name of the interface (default eth1)' },
    timeout: { value: 'seconds', summary: 'give up after that long, with exit code 124 (default: never)' },
    for: {
      value: 'what',
      summary: 'carrier (the default), up, addr: an address in use, or route: a default route through it',
    },
  },
  examples: [
    { line: 'pipework --wait', does: 'until eth1 is there and has a carrier' },
    { line: 'pipework --wait --for route', does: 'until eth1 has a default route' },
    { line: 'pipework --wait -i eth2 --for addr --timeout 30', does: 'until eth2 has an address, at most 30 s' },
  ],
  load: () => import('./wait'),
}

const HELP: CommandSpec = {
  word: 'help',
  aliases: ['man', 'usage'],
  synopsis: 'help [command] | help --man',
  summary: 'tell what a command does, with its options and with examples that run',
  options: { man: { summary: 'print the manual page instead' } },
  examples: [
    { line: 'pipework help', does: 'the main form, and a list of commands' },
    { line: 'pipework help disconnect', does: 'one command' },
    { line: 'pipework help --man', does: 'the manual page pipework(8): pipe it into man -l -' },
  ],
  load: () => import('./help'),
}

const COMPLETION: CommandSpec = {
  word: 'completion',
  aliases: ['completions', 'complete'],
  synopsis: 'completion bash|zsh|fish | completion install',
  summary: 'print what a shell needs to complete pipework at TAB, or put it where the installed shells look for it',
  options: {
    user: { summary: 'install for this user alone, as root too' },
    'dry-run': { short: 'n', summary: 'print a shell script that does the same, and write nothing' },
    quiet: { short: 'q', summary: 'print nothing when all is well' },
  },
  examples: [
    { line: 'pipework completion install', does: 'for all users with sudo, else for you, and it says where' },
    { line: 'pipework completion bash', does: 'print it: source <(pipework completion bash) tries it out' },
    { line: 'pipework --dry-run completion install', does: 'what would be written, and where' },
  ],
  load: () => import('./completion'),
}

/** What the shells ask at each TAB. */
const COMPLETE: CommandSpec = {
  word: '__complete',
  synopsis: '__complete -- <words…>',
  summary: 'list what can stand at the last of the words',
  options: {},
  examples: [],
  passThrough: true,
  hidden: true,
  load: () => import('./complete'),
}

/** What a watch and the service that runs one have in common. */
const WATCH_OPTIONS: OptionTable = {
  labels: { summary: 'also make what the labels `pipework` and `pipework.<n>` of containers ask for' },
  allow: {
    value: 'glob',
    repeatable: true,
    summary: 'a bridge or NIC that labels may use, like br0, eth* or br0@10, or an option by name; may be repeated',
  },
  'env-compat': { summary: 'read the variables pipework_cmd… of containers as labels, too' },
}

const WATCH: CommandSpec = {
  word: 'watch',
  aliases: ['daemon', 'follow', 'monitor'],
  synopsis: 'watch [file …] [--labels] [--allow glob]… [--env-compat]',
  summary: 'keep the attachments of files and labels, through restarts, recreations and reboots',
  options: WATCH_OPTIONS,
  examples: [
    { line: 'pipework watch lan.pipework', does: 'what stands in the file, whenever its containers start' },
    { line: 'pipework watch', does: 'the same with all files /etc/pipework/*.pipework' },
    { line: "pipework watch --labels --allow 'br*'", does: 'containers ask by label, for bridges called br… only' },
  ],
  load: () => import('./watch'),
}

const SERVICE: CommandSpec = {
  word: 'service',
  synopsis: 'service install [file …] [--labels] [--allow glob]… [--env-compat] [--now] | service remove|status',
  summary: 'let systemd run a watch from boot on',
  options: { ...WATCH_OPTIONS, now: { summary: 'start it at once, or start it anew' }, ...CHANGE_OPTIONS },
  examples: [
    {
      line: 'pipework service install --now',
      does: 'watch over /etc/pipework/*.pipework, from now on and after boots',
    },
    { line: "pipework service install --labels --allow 'br*'", does: 'and over what labels ask for' },
    { line: 'pipework service status', does: 'whether it runs' },
    { line: 'pipework service remove', does: 'stop it, and away with the unit; what is attached stays' },
  ],
  load: () => import('./service'),
}

/** What the keeper of a DHCP client calls, and scripts of --dry-run. */
const DHCP: CommandSpec = {
  word: '__dhcp',
  synopsis: '__dhcp await|apply|drop|release <directory> [seconds]',
  summary: 'what a DHCP client has heard, made true',
  options: {},
  examples: [],
  hidden: true,
  load: () => import('./dhcp'),
}

const DOCTOR: CommandSpec = {
  word: 'doctor',
  aliases: ['check', 'diagnose', 'debug', 'troubleshoot', 'test'],
  synopsis: 'doctor [bridge] | doctor [guest]',
  summary: 'find what makes traffic vanish, and the command that mends it; exit code 1 when there is something',
  options: {},
  examples: [
    { line: 'pipework doctor', does: 'everything that concerns pipework on this host' },
    { line: 'pipework doctor br1', does: 'one bridge and its guests' },
    { line: 'pipework doctor web --json', does: 'one guest, for programs' },
  ],
  load: () => import('./doctor'),
}

/** The command table: parser, help and completion all read it. */
export const COMMANDS: readonly CommandSpec[] = [
  ATTACH_COMMAND,
  LS,
  INSPECT,
  DIAGRAM,
  DISCONNECT,
  UPLINK,
  UP,
  DOWN,
  DIFF,
  SAVE,
  ROUTE,
  RULE,
  TC,
  EXEC,
  NETNS,
  WATCH,
  SERVICE,
  DOCTOR,
  WAIT,
  HELP,
  COMPLETION,
  COMPLETE,
  DHCP,
]
