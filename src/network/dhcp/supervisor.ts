import type { Family } from '../../model/address'
import type { DhcpClient } from '../../model/dhcp-options'
import { shellQuote } from '../../model/shell'
import { SCRIPT_ENV } from '../../system/process'

/** What a client is started with. */
export interface DhcpStartOptions {
  readonly directory: string
  /** The path that leads to the guest's network namespace for as long as the guest lives. */
  readonly nsPath: string
  readonly ifname: string
  /** The link's end in the host, where it has one. */
  readonly hostEnd: string
  readonly family: Family
  readonly program: DhcpClient | 'image'
  /** The program's own words: busybox has several names. */
  readonly command: readonly string[]
  /** What the user passes on. */
  readonly options: readonly string[]
  /** The guest's name, for the server. */
  readonly hostname?: string
  readonly clientId: string
  /** Whether answers must go to all on the LAN: what is sent to the MAC address alone does not find the guest. */
  readonly broadcast: boolean
  /** Whether AppArmor lets dhclient have its files and its hook at Debian's own paths only. */
  readonly confined: boolean
  /** Node and the script: how pipework calls itself. */
  readonly self: readonly string[]
  /** Seconds after which a client that nobody took a first lease from gives up. */
  readonly limit: number
  /** The guest's container for Docker, where the client is in its image. */
  readonly container?: string
}

/** Stands for the hook's path, which the keeper chooses. */
const HOOK_PLACEHOLDER = '$hook'
/** The same as a mount of a container. */
const HOOK_MOUNT = '$hook:$hook:ro'

/** The bytes of the hexadecimal id without colons. */
const stripColons = (id: string) => id.replaceAll(':', '')

function udhcpcArgv({ command, ifname, hostname, clientId, broadcast, options }: DhcpStartOptions): readonly string[] {
  return [
    ...command,
    ...['-f', '-i', ifname, '-s', HOOK_PLACEHOLDER, '-t', '3', '-T', '2', '-A', '3'],
    ...(hostname === undefined ? [] : ['-x', `hostname:${hostname}`]),
    ...['-C', '-x', `0x3d:${stripColons(clientId)}`],
    ...(broadcast ? ['-B'] : []),
    // 121 and Microsoft's 249: routes other than the default.
    ...['-O', 'staticroutes', '-O', 'msstaticroutes'],
    ...options,
  ]
}

function dhclientArgv({ command, directory, ifname, family, confined, options }: DhcpStartOptions): readonly string[] {
  const [leases, conf, hook] = confined
    ? ['/var/lib/dhcp', '/etc/dhcp', '/sbin/dhclient-script']
    : [directory, directory, HOOK_PLACEHOLDER]
  return [
    ...(confined ? [...UNSHARE_ARGV, 'sh', '-c', APPARMOR_WRAPPER, 'dhclient', directory, HOOK_PLACEHOLDER] : []),
    ...[...command, `-${family}`, '-d', '--no-pid', '-e', `PIPEWORK_DHCP=${directory}`, '-sf', hook],
    ...['-lf', `${leases}/dhclient.leases`, '-cf', `${conf}/dhclient.conf`],
    ...options,
    ifname,
  ]
}

/** With mounts and processes of its own, which end with their first process, and that with its parent. */
const UNSHARE_ARGV = [
  ...['unshare', '--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'],
] as const

/**
 * The profile of Debian and Ubuntu (sbin.dhclient) names paths, so our files are put there, for this client alone. It is not
 * the first process itself: who comes under a profile does not die with its parent.
 */
const APPARMOR_WRAPPER = `umount -a -l -t nsfs 2> /dev/null
dir=$1 hook=$2; shift 2
mount --bind "$hook" /sbin/dhclient-script && mount --bind "$dir" /var/lib/dhcp && mount --bind "$dir" /etc/dhcp || exit
"$@" &
wait "$!"`

/**
 * dhcpcd has files of fixed names, and the namespaces of other guests are no business of its mounts. It is not the first
 * process itself: it changes its user, and who does that does not die with its parent.
 */
const DHCPCD_WRAPPER = `umount -a -l -t nsfs 2> /dev/null
dir=$1 duid=$2; shift 2
mkdir -p /run/dhcpcd /var/lib/dhcpcd
mount -t tmpfs tmpfs /var/lib/dhcpcd && mkdir /var/lib/dhcpcd/pipework && mount --bind "$dir" /var/lib/dhcpcd/pipework &&
  mount -t tmpfs tmpfs /run && mkdir -p /run/dhcpcd "$dir" && mount --bind /var/lib/dhcpcd/pipework "$dir" || exit
echo "$duid" > /var/lib/dhcpcd/duid
"$@" &
wait "$!"`

function dhcpcdArgv({
  command,
  directory,
  ifname,
  family,
  hostname,
  clientId,
  broadcast,
  options,
}: DhcpStartOptions): readonly string[] {
  const asked =
    family === 4
      ? 'subnet_mask,broadcast_address,routers,domain_name_servers,domain_name,classless_static_routes,interface_mtu'
      : 'dhcp6_name_servers,dhcp6_domain_search'
  return [
    ...UNSHARE_ARGV,
    ...['sh', '-c', DHCPCD_WRAPPER, 'dhcpcd', directory, toDuid(clientId)],
    ...[...command, `-${family}`, '-B', '-f', family === 4 ? '/dev/null' : `${directory}/dhcpcd.conf`],
    ...[
      '-L',
      '--noarp',
      '--nodelay',
      '--noconfigure',
      '-c',
      HOOK_PLACEHOLDER,
      '-e',
      `PIPEWORK_DHCP=${directory}`,
      '-o',
      asked,
    ],
    ...(hostname === undefined ? [] : ['-h', hostname]),
    ...(family === 4 ? ['-I', clientId] : []),
    ...(broadcast ? ['--broadcast'] : []),
    ...options,
    ifname,
  ]
}

/** What identifies a client of DHCPv6 (RFC 6355: type 4, sixteen bytes). */
function toDuid(clientId: string): string {
  return `00:04:${clientId}:${clientId}`.slice(0, 3 * 18 - 1)
}

/** The busybox image shares the guest's network, as the original had it; its hook writes into a directory it is lent. */
function busyboxImageArgv({ directory, container = '', ...rest }: DhcpStartOptions): readonly string[] {
  const start = { ...rest, directory, command: ['udhcpc'] }
  return [
    ...['docker', 'run', '--rm', '--name', dhcpContainerName(directory), '--network', `container:${container}`],
    ...['--cap-add', 'NET_ADMIN', '--volume', `${directory}:${directory}`, '--volume', HOOK_MOUNT],
    ...['--env', `PIPEWORK_DHCP=${directory}`],
    ...['busybox', ...udhcpcArgv(start)],
  ]
}

/** The name of the container in which the image's client runs. */
export function dhcpContainerName(directory: string): string {
  return `pipework-dhcp-${directory.slice(directory.lastIndexOf('/') + 1)}`
}

const CLIENT_ARGV: Readonly<Record<DhcpStartOptions['program'], (start: DhcpStartOptions) => readonly string[]>> = {
  udhcpc: udhcpcArgv,
  dhclient: dhclientArgv,
  dhcpcd: dhcpcdArgv,
  image: busyboxImageArgv,
}

function formatClientCommand(start: DhcpStartOptions): string {
  const words = CLIENT_ARGV[start.program](start).map((word) =>
    word === HOOK_PLACEHOLDER || word === HOOK_MOUNT ? `"${word}"` : shellQuote(word),
  )
  if (start.program === 'image') return `exec ${words.join(' ')} 9<&-`
  // A client dies with its keeper, whatever kills that.
  return `exec nsenter --net="/proc/$me/fd/9" setpriv --pdeathsig KILL ${words.join(' ')} 9<&-`
}

/**
 * The keeper of one client, in shell: it is there for as long as the link, and Node would hold 40 MB for that. A client
 * holds the namespace it is in, and the link with it, past the guest's death; so the keeper looks twice a second whether
 * the path still leads to the namespace that it has open. Neither a PID that comes again nor a restart deceives that.
 */
export function formatSupervisor(start: DhcpStartOptions): string {
  const { directory, nsPath, ifname, hostEnd, self, limit, program } = start
  return `# pipework: keeps the DHCP client of ${ifname}. sh keep NETNS starts it, sh keep --stop ends it.
dir=${shellQuote(directory)} guest=${shellQuote(nsPath)} link=${shellQuote(ifname)} port=${shellQuote(hostEnd)} child=
clean=${shellQuote(program === 'image' ? '' : CLEAN_ENV)}
client() { ${formatClientCommand(start)}; }
cleanup() { ${program === 'image' ? `docker rm --force ${dhcpContainerName(directory)} > /dev/null 2>&1` : ':'}; }
renew() { kill -USR1 ${program === 'dhcpcd' ? DHCPCD_PID : '"$child"'}; }
take() { mv "$dir/event" "$dir/taken"; ${self.map(shellQuote).join(' ')} __dhcp apply "$dir" & wait "$!"; }
limit=${Math.ceil(limit + 30) * 2}
${SUPERVISOR_LOOP}
${SUPERVISOR_ENTRY}`
}

/** What gives a keeper that a user starts the environment that pipework gives it. */
const CLEAN_ENV = ['env', '-i', ...Object.entries(SCRIPT_ENV).map(([name, value]) => `${name}=${value}`)].join(' ')

/** dhcpcd itself, behind what gives it mounts and processes of its own. */
const DHCPCD_PID = '$(children $(children "$child"))'

/** The text of what a client calls with what it knows. */
export const HOOK_SCRIPT = `#!/bin/sh
# The DHCP client calls this with what it knows; pipework reads it, and believes none of it unseen.
event=\${1-}\${reason-}
case $event in deconfig | PREINIT* | CARRIER | NOCARRIER* | STOP* | ARP* | ROUTERADVERT | DELEGATED6) exit 0 ;; esac
umask 077
env -0 "event=$event" > "$PIPEWORK_DHCP/new.$$" && exec mv "$PIPEWORK_DHCP/new.$$" "$PIPEWORK_DHCP/event"`

const SUPERVISOR_ENTRY = `umask 077
since() { start=; { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 0; set -- \${stat##*) }; [ "$1" = Z ] || start=\${20}; }
leads() { read -r stat < /proc/$$/stat; set -- \${stat##*) }; [ "$4" = "$$" ]; }
runs() { read -r owner < "$dir/keeper" && since "\${owner%-*}" && [ "$owner" = "\${owner%-*}-$start" ]; } 2> /dev/null
case $1 in
--run) run ;;
--stop)
  runs || exit 0
  kill "\${owner%-*}"
  tries=200
  while runs; do
    [ "$((tries -= 1))" -gt 0 ] || { kill -KILL "\${owner%-*}"; exit 0; }
    sleep 0.02
  done
  exit 0 ;;
*)
  runs && exit 0
  for old in event failed lost renew; do [ ! -e "$dir/$old" ] || rm -f "$dir/$old"; done
  : > "$dir/log"
  # Before there is a keeper: whoever finds one may enter the namespace by it.
  exec 9< "/run/netns/$1"
  # In a session and an environment of its own, unless whoever calls has given one.
  if leads && [ "\${PIPEWORK-}" = alone ]; then run & else setsid $clean sh "$0" --run & fi
  since "$!"
  echo "$!-$start" > "$dir/keeper" ;;
esac`

const SUPERVISOR_LOOP = `has_link() {
  [ "/proc/$child/ns/net" -ef "/proc/$me/fd/9" ] || return 0
  while read -r name rest; do [ "$name" != "$link:" ] || return 0; done < "/proc/$child/net/dev"
  return 1
} 2> /dev/null
children() { cat "/proc/$1/task/$1/children"; }
stop() {
  trap '' TERM
  [ -z "$child" ] || { kill -KILL "$child"; wait "$child"; }
  cleanup
  exit 0
}
# Beside the shell: for one in front of it the shell itself would be without the namespace, or the sleep would hold it.
doze() { sleep "$1" 9<&- & wait "$!"; }
tick() {
  doze 0.5
  [ "$guest" -ef "/proc/$me/fd/9" ] && has_link || stop
}
run() {
  exec < /dev/null >> "$dir/log" 2>&1
  # Not $$, which is that of the process that was called.
  read -r me rest < /proc/self/stat
  export PIPEWORK_DHCP="$dir"
  hook=$dir/hook
  # Debian mounts /run so that nothing in it can be executed.
  [ -x "$hook" ] || { mkdir -p /var/lib/pipework && cp "$hook" /var/lib/pipework/dhcp-hook && hook=/var/lib/pipework/dhcp-hook; }
  trap stop TERM
  # What goes to a port before it forwards is lost, and a client asks again only after seconds.
  tries=100
  while read -r state < "/sys/class/net/$port/brport/state" && [ "$state" != 3 ] && [ "$((tries -= 1))" -gt 0 ]; do
    doze 0.05
  done 2> /dev/null
  pause=1
  while :; do
    client &
    child=$!
    since "$child"
    echo "$child-$start" > "$dir/pid"
    ticks=0
    while kill -0 "$child" 2> /dev/null; do
      tick
      ticks=$((ticks + 1))
      if [ -e "$dir/lease" ]; then
        { read -r every < "$dir/renew" && [ "$((ticks % every))" -eq 0 ] && renew; } 2> /dev/null
        [ ! -e "$dir/event" ] || take
      elif [ "$ticks" -gt "$limit" ]; then
        stop
      fi
    done
    child=
    cleanup
    [ -e "$dir/lease" ] || { : > "$dir/failed"; exit 1; }
    # It had a lease, and was killed or broke down: again, and more slowly each time that it does not last.
    [ "$ticks" -lt 120 ] || pause=1
    ticks=0
    while [ "$ticks" -lt "$((pause * 2))" ]; do
      tick
      ticks=$((ticks + 1))
    done
    [ "$pause" -ge 60 ] || pause=$((pause * 2))
  done
}`
