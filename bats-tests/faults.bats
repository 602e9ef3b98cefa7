#!/usr/bin/env bats
# Bad input and broken surroundings: each is refused with its reason, and nothing is changed.

load rig

setup() { need_docker; }
teardown() {
  # `ip netns del` follows a link, and would take away the rig's own namespace.
  on_host find /run/netns -type l -delete
  on_host rm -rf /run/netns/folder /run/pipework-copy
  [[ ! -e $RIG_DIR/listener.pid ]] || rig_stop listener
  clean_host
}

# remember GUEST — notes the state of host and guest, which no refusal may change.
remember() {
  GUEST=$1
  HOST_BEFORE=$(host_state)
  GUEST_BEFORE=$(guest_state "$1")
}

# assert_unchanged — both are as they were at `remember`.
assert_unchanged() {
  assert_same_state "$HOST_BEFORE" "$(host_state)" && assert_same_state "$GUEST_BEFORE" "$(guest_state "$GUEST")"
}

# misused TEXT WORD… — these words end with exit code 2 and TEXT on stderr. The caller asserts at its end that all
# of them together changed nothing.
misused() {
  run_pw "${@:2}"
  is_refusal 2 "$1" || fail "for these words:$(printf ' %q' "${@:2}")"
}

# refused TEXT WORD… — these words end with exit code 1 and TEXT on stderr, change nothing, and say the same in JSON.
refused() {
  if ! refused_by pw 1 "$@" || ! assert_unchanged; then fail "for these words:$(printf ' %q' "${@:2}")"; fi
}

# refused_by RUNNER CODE TEXT WORD… — the same without a look at the state, RUNNER in the place of pw.
refused_by() {
  run --separate-stderr "$1" "${@:4}"
  is_refusal "$2" "$3" && assert_error_document "$1" "$2" "${@:4}"
}

# is_refusal CODE TEXT — the last run ended with CODE, with a message that has TEXT, and nothing else.
is_refusal() {
  assert_exit "$1" && assert_err 'pipework: ' && assert_err "$2" || return
  [[ -z $output ]] || fail "on stdout: $output" || return
  [[ $stderr != *' bug'* && $stderr != *$'\n    at '* ]] || fail "a stack trace: $stderr"
}

# assert_error_document RUNNER CODE WORD… — with --json the error is one document on stdout, and stderr is empty.
assert_error_document() {
  run --separate-stderr "$1" --json "${@:3}"
  assert_exit "$2" || return
  [[ -z $stderr ]] || fail "on stderr, with --json: $stderr" || return
  jq -es --argjson code "$2" 'length == 1 and (.[0] | .ok == false and .exitCode == $code
    and (.error.message | type == "string" and length > 0) and .error.bug != true)' > /dev/null <<< "$output" ||
    fail "no error document: $output"
}

# farm DIR COMMAND… — a directory with node and these commands, to be a PATH without the others.
farm() {
  local tool
  mkdir -p "$1"
  for tool in node "${@:2}"; do ln -sf "$(command -v "$tool")" "$1/$tool"; done
}

# --- words -----------------------------------------------------------------------------------------------

@test "without arguments: short usage, exit 2" {
  run_pw
  assert_exit 2
  assert_err 'nothing to do'
  assert_err 'pipework br1 web 192.168.1.10/24@192.168.1.1'
  assert_err '--help'
  [[ -z $output ]]
  (($(wc -l <<< "$stderr") < 24))
  assert_error_document pw 2
}

@test "options: unknown, twice, without a value" {
  netns_guest web
  remember web
  misused "unknown option '--fore'" br1 --fore netns:web 10.1.1.2/24
  misused 'Did you mean --force' br1 netns:web 10.1.1.2/24 --fore
  misused 'Did you mean --no-probe' --noprobe br1 netns:web 10.1.1.2/24
  misused "unknown option '-x'" br1 -x netns:web 10.1.1.2/24
  misused 'Did you mean --tx-offload?' br1 netns:web 10.1.1.2/24 -t eth1
  misused 'The VLAN comes last' br1 netns:web 10.1.1.2/24 --vlan 10
  misused "unknown option '--zzzzzzzz'" br1 netns:web 10.1.1.2/24 --zzzzzzzz
  misused "unknown option '-i" disconnect netns:web -i eth1
  misused '-i is given 2 times' br1 -i eth1 -i eth2 netns:web 10.1.1.2/24
  misused '-l is given 2 times' br1 -l a netns:web -l a 10.1.1.2/24
  misused '-a is given 2 times' -a 4 br1 -a 6 netns:web 10.1.1.2/24
  misused '-i needs a value' br1 netns:web 10.1.1.2/24 -i
  misused '-l needs a value' br1 -l '' netns:web 10.1.1.2/24
  misused '-a needs a value' br1 netns:web 10.1.1.2/24 -a
  misused '--wait-guest needs a value' br1 netns:web 10.1.1.2/24 --wait-guest
  misused '--wait-guest' br1 netns:web 10.1.1.2/24 --wait-guest soon
  misused '--wait-guest' br1 netns:web 10.1.1.2/24 --wait-guest=-1
  misused "-a '5'" br1 -a 5 netns:web 10.1.1.2/24
  misused "-a 'inet4'" br1 -a inet4 netns:web 10.1.1.2/24
  assert_unchanged
}

@test "words: missing and too many" {
  netns_guest web
  remember web
  misused "missing guest after 'br1'" br1
  misused "missing address after 'netns:web'" br1 netns:web
  misused "unexpected argument 'more'" br1 netns:web 10.1.1.2/24 26:2e:71:98:60:8f more
  misused "'fd00::2/64' is not a MAC address" br1 netns:web 10.1.1.2/24 fd00::2/64
  misused "unexpected argument 'eth2'" disconnect netns:web eth1 eth2
  misused 'missing argument <guest>' disconnect
  misused '"" is not a guest name' br1 '' 10.1.1.2/24
  misused "is empty" '' netns:web 10.1.1.2/24
  misused "'' is not an address" br1 netns:web ''
  misused "there is no guest kind 'nets'" br1 nets:web 10.1.1.2/24
  misused 'is not a guest name' br1 netns: 10.1.1.2/24
  misused 'is not a guest name' br1 netns:../web 10.1.1.2/24
  misused 'is not a guest name' br1 netns:.. 10.1.1.2/24
  misused 'is not a guest name' br1 'web?all=1' 10.1.1.2/24
  misused 'is not a guest name' br1 'web/../db' 10.1.1.2/24
  assert_unchanged
}

@test "addresses that no host can have, with the reason" {
  local text address
  netns_guest web
  remember web
  while read -r address text; do
    misused "$text" br1 netns:web "$address"
  done << 'END'
10.1.1.1                     Did you mean 10.1.1.1/24?
10.1.1.2@10.1.1.1            Did you mean 10.1.1.2/24@10.1.1.1?
fd00::1                      Did you mean fd00::1/64?
10.1/24                      is not an address
10.1.1/24                    is not an address
10.1.1.1.1/24                is not an address
0177.0.0.1/8                 is not an address
0x0a.1.1.1/8                 is not an address
167837953/8                  is not an address
300.1.1.1/24                 is not an address
10.1.1.-1/24                 is not an address
10.1.1.1/24/24               is not an address
10.1.1.1/24@10.1.1.3@1.1.1.1 is not an address
foo/24                       is not an address
/24                          is not an address
@10.1.1.1                    is not an address
fe80::1%eth0/64              is not an address
fd00:::1/64                  is not an address
fd00::1::2/64                is not an address
[fd00::1]/64                 is not an address
dhcp4                        is not a source of addresses
1.2.3.4/24x                  '24x' is not a prefix length
1.2.3.4/                     '' is not a prefix length
1.2.3.4/33                   '33' is not a prefix length
1.2.3.4/-1                   '-1' is not a prefix length
1.2.3.4/024                  '024' is not a prefix length
1.2.3.4/2e1                  '2e1' is not a prefix length
1.2.3.4/255.0.255.0          '255.0.255.0' is not a prefix length
1.2.3.4/255.255.255          '255.255.255' is not a prefix length
fd00::1/129                  '129' is not a prefix length
fd00::1/ffff::               'ffff::' is not a prefix length
fd00::1/255.255.255.0        is not a prefix length
10.1.1.0/24                  10.1.1.0 is the network address of 10.1.1.0/24
10.1.1.255/24                10.1.1.255 is the broadcast address of 10.1.1.0/24
10.1.1.4/30                  is the network address
10.1.1.7/255.255.255.252     is the broadcast address
fd00::/64                    is the network address
127.0.0.1/8                  is a loopback address
::1/128                      is the loopback address
224.0.0.5/24                 is a multicast address
ff02::5/64                   is a multicast address
255.255.255.255/32           is a reserved address
0.0.0.5/24                   is not an address of a host
::/64                        is not an address of a host
::ffff:10.1.1.1/96           is an IPv4-mapped address
10.1.1.2/24@                 the gateway '' is not an IP address
10.1.1.2/24@foo              the gateway 'foo' is not an IP address
10.1.1.2/24@10.1             the gateway '10.1' is not an IP address
10.1.1.2/24@10.1.1.1/24      the gateway '10.1.1.1/24' is not an IP address
10.9.9.9/24,10.1.1.1/33      '33' is not a prefix length
10.9.9.9/24,fd00::/64        is the network address
10.1.1.2/24@fd00::1          the gateway 'fd00::1' is IPv6, the address is IPv4
fd00::2/64@10.1.1.1          the gateway '10.1.1.1' is IPv4, the address is IPv6
10.1.1.2/24@10.1.1.2         the gateway is the address itself
10.1.1.2/24@10.1.1.255       10.1.1.255 is the broadcast address
DHCP                         Did you mean dhcp?
10.1.1.2/24@224.0.0.1        is a multicast address
10.1.1.2/24@127.0.0.1        is a loopback address
10.1.1.2/24@0.0.0.0          is not an address of a host
fd00::2/64@::1               is the loopback address
fd00::2/64@fe80::1%eth0      is not an IP address
END
  assert_unchanged
}

@test "lists of addresses: empty places, twice, two gateways, a family that is not there" {
  netns_guest web
  remember web
  misused 'an address is missing before or after a comma' br1 netns:web 10.1.1.2/24, 10.1.1.3/24
  misused 'an address is missing before or after a comma' br1 netns:web ,10.1.1.2/24
  misused 'Append a gateway to its address' br1 netns:web 10.1.1.2/24 @10.1.1.1
  misused "an address is missing before or after a comma" br1 netns:web 10.1.1.2/24,,10.1.2.2/24
  misused "' 10.1.2.2/24' is not an address" br1 netns:web '10.1.1.2/24, 10.1.2.2/24'
  misused '10.1.1.2 is given twice' br1 netns:web 10.1.1.2/24,10.1.1.2/16
  misused 'fd00::2 is given twice' br1 netns:web fd00::2/64,fd00:0::0002/64
  misused 'two gateways for IPv4, 10.1.1.1 and 10.1.1.3' br1 netns:web 10.1.1.2/24@10.1.1.1,10.1.1.4/24@10.1.1.3
  misused 'two gateways for IPv6' br1 netns:web fd00::2/64@fd00::1,10.1.1.2/24@10.1.1.1,fd00::3/64@fd00::9
  misused '0/0 means no address and cannot be combined' br1 netns:web 0/0,10.1.1.2/24
  misused 'has no IPv6 address' br1 -a 6 netns:web 10.1.1.2/24
  misused 'has no IPv4 address' br1 -a inet netns:web fd00::2/64
  assert_unchanged
}

@test "MAC addresses and VLAN ids" {
  local text word
  netns_guest web
  remember web
  while read -r word text; do
    misused "$text" br1 netns:web 10.1.1.2/24 "$word"
  done << 'END'
27:2e:71:98:60:8f     is a multicast MAC address
ff:ff:ff:ff:ff:ff     is a multicast MAC address
00:00:00:00:00:00     cannot be the MAC address
26:2e:71:98:60        is not a MAC address
26:2e:71:98:60:8f:00  is not a MAC address
26:2e:71:98:60:8g     is not a MAC address
26:2e:71:98:60:8      is not a MAC address
26-2e-71-98-60-8f     is not a MAC address
262e.7198.608f        is not a MAC address
u:web                 is not a MAC address
U:                    no text after U:
U:@10                 no text after U:
foo                   is not a MAC address
@                     '' is not a VLAN id
@0                    '0' is not a VLAN id
@4095                 '4095' is not a VLAN id
@x                    'x' is not a VLAN id
@-1                   is not a VLAN id
@010                  '010' is not a VLAN id
@1e2                  '1e2' is not a VLAN id
26:2e:71:98:60:8f@0   '0' is not a VLAN id
END
  misused '27:2e:71:98:60:8f' br1 netns:web 10.1.1.2/24 27:2e:71:98:60:8f
  misused '26:2e:71:98:60:8f, for example' br1 netns:web 10.1.1.2/24 27:2e:71:98:60:8f
}

@test "names of interfaces, for -i, -l and the bridge alike" {
  local name
  local -A bad=(
    [16 bytes]=br23456789abcdef [bytes, not letters]=brääääääää [slash]=br/1 [climbing]=../br1 [blank]='br 1' [tab]=$'br\t1'
    [newline]=$'br1\n' [two lines]=$'br1\nlink add evil type bridge' [return]=$'br1\r' [dot]=. [dots]=..
    [double quote]='br"1' [single quote]="br'1" [hash]='br#1' [backslash]='br\1' [control]=$'br\e[2J'
    [alternative]=br@1 [percent]=br%d [semicolon]='br1;'
  )
  netns_guest web
  remember web
  for name in "${!bad[@]}"; do
    # Behind the @ of a bridge stands its uplink, which is looked for.
    [[ $name == alternative ]] || misused 'cannot be the name of the host interface' "${bad[$name]}" netns:web 10.1.1.2/24
    misused 'cannot be the name of the interface in the guest' br1 -i "${bad[$name]}" netns:web 10.1.1.2/24
    misused "cannot be the name of the link's host end" br1 -l "${bad[$name]}" netns:web 10.1.1.2/24
  done
  misused "'br:1'" br:1 netns:web 10.1.1.2/24
  misused "it has a ':'" br1 -i eth1:1 netns:web 10.1.1.2/24
  misused 'it starts with a dash' br1 --i=-eth1 netns:web 10.1.1.2/24
  misused 'it has 16 bytes, the kernel allows 15' br1 -i eth3456789abcdef netns:web 10.1.1.2/24
  misused 'cannot be the name of the interface in the guest' disconnect netns:web 'eth1 up'

  # The limit itself is fine.
  run_pw br3456789abcdef -i eth456789abcdef -l v23456789abcdef netns:web 10.1.1.2/24
  assert_exit 0
  run ! assert_unchanged
}

@test "a command cannot be smuggled in by any word" {
  local evil
  netns_guest web
  remember web
  for evil in $'\nlink add evil type bridge\n' $'\r\nlink add evil type bridge' ' dev lo ; link add evil type bridge' \
    $'"\nlink add evil type bridge\n"' $'\\\nlink add evil type bridge' "\$(ip link add evil type bridge)" \
    "\`ip link add evil type bridge\`" $'\u2028link add evil type bridge'; do
    misused '' "br1$evil" netns:web 10.1.1.2/24
    misused '' br1 -i "eth1$evil" netns:web 10.1.1.2/24
    misused '' br1 -l "veth1$evil" netns:web 10.1.1.2/24
    misused '' br1 -a "4$evil" netns:web 10.1.1.2/24
    misused '' br1 "netns:web$evil" 10.1.1.2/24
    misused '' br1 "docker:web$evil" 10.1.1.2/24
    misused '' br1 netns:web "10.1.1.2/24$evil"
    misused '' br1 netns:web "10.1.1.2$evil/24"
    misused '' br1 netns:web "10.1.1.2/24@10.1.1.1$evil"
    misused '' br1 netns:web "fd00::2/64@fd00::1$evil"
    misused '' br1 netns:web 10.1.1.2/24 "26:2e:71:98:60:8f$evil"
    misused '' br1 netns:web 10.1.1.2/24 "@10$evil"
    misused '' br1 netns:web 10.1.1.2/24 --wait-guest "1$evil"
    misused '' disconnect "netns:web$evil"
    misused '' disconnect netns:web "eth1$evil"
  done
  assert_unchanged
}

@test "the text of U: may be anything, and stays a text" {
  local text=$'x\nip link add evil type bridge\n\'; ip link add evil type bridge #"' mac
  mac="02:$(printf '%s\n' "$text" | md5sum | sed 's/../&:/g' | cut -c 1-14)"
  netns_guest web
  run_pw --dry-run br1 netns:web 10.1.1.2/24 "U:$text"
  assert_exit 0
  printf '%s\n' "$output" > "$BATS_TEST_TMPDIR/script"
  on_host sh "$BATS_TEST_TMPDIR/script"
  assert_json "$(on_host ip -j link)" 'all(.[]; .ifname != "evil")'
  assert_json "$(in_guest web ip -j link show dev eth1)" ".[0].address == \"$mac\""
  run_pw br1 netns:web 10.1.1.2/24 "U:$text"
  assert_exit 0
  assert_out 'nothing changed'
  assert_json "$(on_host ip -j link)" 'all(.[]; .ifname != "evil")'
}

@test "an error of any kind in the words is one JSON document, wherever --json stands" {
  netns_guest web
  remember web
  refused_by pw 2 'unknown option' br1 --fore netns:web 10.1.1.2/24
  refused_by pw 2 'needs a value' br1 netns:web 10.1.1.2/24 -i
  refused_by pw 2 'is given 2 times' br1 -i a -i b netns:web 10.1.1.2/24
  refused_by pw 2 'missing guest' br1
  refused_by pw 2 "unexpected argument 'more'" br1 netns:web 10.1.1.2/24 U:x more
  refused_by pw 2 'Did you mean' br1 netns:web 10.1.1.2
  refused_by pw 2 'cannot be the name' $'br"\n\e' netns:web 10.1.1.2/24
  refused_by pw 2 'is not an address' br1 netns:web $'10.1.1.2"\n\e\\/24'
  run_pw br1 netns:web 10.1.1.2 --json
  assert_exit 2
  assert_json "$output" '.ok == false and .error.hint == "Did you mean 10.1.1.2/24?"'
  run_pw disconnect zz --json zz zz
  assert_exit 2
  assert_json "$output" '.ok == false'
  assert_unchanged
}

@test "an unknown word is not repeated to the terminal with its escapes" {
  netns_guest web
  run_pw br1 $'netns:web\e[2J' 10.1.1.2/24
  [[ $stderr != *$'\e'* ]]
  run_pw br1 netns:web $'10.1.1.2/24\e[2J'
  [[ $stderr != *$'\e'* ]]
  run_pw br1 netns:web 10.1.1.2/24 $'26:2e:71\e[2J'
  [[ $stderr != *$'\e'* ]]
  run_pw br1 netns:web 10.1.1.2/24 $'--\e[2J'
  [[ $stderr != *$'\e'* ]]
}

# --- guests ----------------------------------------------------------------------------------------------

@test "containers that are not there, with the nearest names" {
  start_guest web-1
  start_guest database
  remember web-1
  refused "no container 'web-2'" br1 web-2 10.1.1.2/24
  refused 'Did you mean web-1?' br1 web 10.1.1.2/24
  refused 'Did you mean database?' br1 databse 10.1.1.2/24
  refused "no container 'zzzzzzzz'" br1 zzzzzzzz 10.1.1.2/24
  refused "no container 'busybox'" br1 busybox 10.1.1.2/24
  refused "no container '007'" br1 007 10.1.1.2/24
  refused "no container 'zzzzzzzz'" disconnect zzzzzzzz
  refused "there is no network namespace 'web-1'" br1 netns:web-1 10.1.1.2/24
}

@test "containers that are there and cannot be used: stopped, created, paused, restarting" {
  start_guest web
  start_guest off
  stop_guest off
  docker create --name new --network none busybox > /dev/null
  start_guest ice
  docker pause ice
  docker run --detach --name loop --network none --restart always busybox false > /dev/null
  remember web
  refused "the container 'off' is not running (exited)" br1 off 10.1.1.2/24
  refused 'docker start off' br1 off 10.1.1.2/24
  refused "the container 'new' is not running (created)" br1 new 10.1.1.2/24
  refused "the container 'ice' is paused" br1 ice 10.1.1.2/24
  refused 'docker unpause ice' br1 ice 10.1.1.2/24
  # Between two restarts there are moments in which it runs, fewer and fewer.
  wait_until 60 refused_by pw 1 "the container 'loop' is restarting" br1 loop 10.1.1.2/24 2> /dev/null
  docker rm -f loop
  assert_unchanged
  refused_by pw 124 "timed out after 0.3 s: the container 'off' is not running" --wait-guest 0.3 br1 off 10.1.1.2/24
  refused_by pw 124 'timed out after 0.3 s: '  --wait-guest 0.3 br1 none 10.1.1.2/24
  docker unpause ice
}

@test "the host's own network is never a guest, whatever its name" {
  netns_guest web
  start_guest hosted --net=host
  docker run --detach --name lodger --net=container:hosted busybox > /dev/null
  on_host touch /run/netns/mounted
  on_host mount --bind "$HOST_NS" /run/netns/mounted
  on_host ln -s "$HOST_NS" /run/netns/linked
  on_host ln -s /proc/self/ns/net /run/netns/self
  remember web
  refused "'hosted' shares the network of the host" br1 hosted 10.1.1.2/24
  refused "'lodger' shares the network of the host" br1 lodger 10.1.1.2/24
  refused "'mounted' shares the network of the host" br1 netns:mounted 10.1.1.2/24
  refused "'linked' shares the network of the host" br1 netns:linked 10.1.1.2/24
  refused "'self' shares the network of the host" br1 netns:self 10.1.1.2/24
  # A dry run would change nothing, and yet has nothing to show.
  refused 'shares the network of the host' --dry-run br1 hosted 10.1.1.2/24
}

@test "namespaces that are not there, or are none" {
  netns_guest web
  on_host touch /run/netns/stale
  on_host ln -s /run/netns/nowhere /run/netns/dangling
  on_host mkdir /run/netns/folder
  remember web
  refused "there is no network namespace 'webb'" br1 netns:webb 10.1.1.2/24
  refused 'Did you mean web?' br1 netns:webb 10.1.1.2/24
  refused "there is no network namespace 'dangling'" br1 netns:dangling 10.1.1.2/24
  refused "the network namespace of 'stale' is gone" br1 netns:stale 10.1.1.2/24
  refused "the network namespace of 'folder' is gone" br1 netns:folder 10.1.1.2/24
}

# --- interfaces that are in the way ----------------------------------------------------------------------

@test "host interfaces that are not there, of no use, or somebody else's" {
  netns_guest web
  on_host ip link add docker0 type bridge
  on_host ip link add br-0123456789ab type bridge
  remember web
  refused "'lo'" lo netns:web 10.1.1.2/24
  refused "there is no interface 'lan1'" lan1 netns:web 10.1.1.2/24
  refused "the bridge 'docker0' is Docker's own" docker0 netns:web 10.1.1.2/24
  refused "Docker's own" br-0123456789ab netns:web 10.1.1.2/24
  # A word that is a command is an interface behind --.
  refused "there is no interface 'ls'" -- ls netns:web 10.1.1.2/24

  run_pw --force docker0 netns:web 10.1.1.2/24
  assert_exit 0
  run ! assert_unchanged
}

@test "eth1 is already there and not ours: refused, naming what it is" {
  local guest
  start_guest web
  netns_guest db
  for guest in web netns:db; do
    in_guest "${guest#netns:}" ip link add eth1 type bridge
    in_guest "${guest#netns:}" ip addr add 10.9.9.9/24 dev eth1
    in_guest "${guest#netns:}" ip link add eth2 type veth peer name eth3
    remember "${guest#netns:}"
    refused "already has an interface 'eth1', and pipework did not make it" br1 "$guest" 10.1.1.2/24
    refused 'It is a bridge with the address 10.9.9.9' br1 "$guest" 10.1.1.2/24
    refused 'It is a veth' br1 -i eth2 "$guest" 10.1.1.2/24
    refused "'lo'" br1 -i lo "$guest" 10.1.1.2/24
    refused 'did not make it' br1 --force "$guest" 10.1.1.2/24
  done
  on_host ip link add br1 type bridge
  on_host ip link add hand master br1 type veth peer name eth4 netns "$(docker inspect -f '{{.State.Pid}}' web)"
  remember web
  refused 'It is a veth' br1 -i eth4 web 10.1.1.2/24
}

@test "the host end's name is taken: refused, naming by whom" {
  netns_guest web
  netns_guest db
  on_host ip link add hand type veth peer name far
  pw br1 -l vdb netns:db 10.1.1.1/24
  remember web
  refused "the host already has an interface 'hand'" br1 -l hand netns:web 10.1.1.2/24
  refused "the host already has an interface 'eth0'" br1 -l eth0 netns:web 10.1.1.2/24
  refused "the host already has an interface 'br1'" br1 -l br1 netns:web 10.1.1.2/24
  refused 'It is the host end of eth1 in db' br1 -l vdb netns:web 10.1.1.2/24
  refused "brand" brand -l brand netns:web 10.1.1.2/24
  refused 'host already has' --force br1 -l hand netns:web 10.1.1.2/24
}

@test "what needs the link re-made is refused without --force" {
  netns_guest web
  pw br1 netns:web 10.1.1.2/24
  on_host ip link add br2 type bridge
  remember web
  refused "is on 'br1', not on 'br2'" br2 netns:web 10.1.1.2/24
  refused "is on 'br1', not on 'br3'" br3 netns:web 10.1.1.2/24
  refused "not 'other'" br1 -l other netns:web 10.1.1.2/24
}

@test "an address that is taken on the LAN is refused with its owner" {
  netns_guest web
  netns_guest db
  pw br1 netns:db 10.1.1.2/24,fd00::2/64 26:2e:71:98:60:8f
  remember web
  if on_host arping -V 2>&1 | grep -q iputils; then
    refused "the address '10.1.1.2' is taken: 26:2e:71:98:60:8f answers for it" br1 netns:web 10.1.1.2/24
  fi
  refused "the address 'fd00::2' is taken" br1 netns:web 10.1.1.3/24,fd00::2/64
}

# --- Docker ----------------------------------------------------------------------------------------------

# answering TEXT WORD… — pipework with a Docker that says TEXT to each question, or nothing.
answering() {
  local socket=$BATS_TEST_TMPDIR/fake.sock
  # shellcheck disable=SC2016 # JavaScript
  rig_daemon listener node -e '
    const [socket, text] = process.argv.slice(1)
    require("net").createServer((client) => { client.on("error", () => {}); if (text !== "silence") client.end(text) }).listen(socket)
  ' "$socket" "$1"
  wait_until 30 test -S "$socket"
  on_host env -u NODE_EXTRA_CA_CERTS DOCKER_HOST="unix://$socket" "$PIPEWORK" "${@:2}" && status=0 || status=$?
  rig_stop listener
  rm "$socket"
  return "$status"
}

# mute WORD… — pipework where Docker has stopped answering.
mute() { answering silence "$@"; }

@test "Docker does not answer: said within its limit, and nothing is kept waiting" {
  netns_guest web
  remember web
  run --separate-stderr mute br1 web 10.1.1.2/24
  assert_exit 1
  assert_err 'Docker does not answer on'
  assert_err 'within 10 s'
  assert_unchanged
}

@test "Docker answers nonsense: an error, not a crash" {
  local said
  netns_guest web
  remember web
  for said in '' 'hello' $'HTTP/1.0 500 x\r\n\r\n{"message":"it hurts"}' $'HTTP/1.0 200 OK\r\n\r\nnot json' \
    $'HTTP/1.0 200 OK\r\n\r\n{}' $'HTTP/1.0 200 OK\r\n\r\n{"Id":"'; do
    nonsense() { answering "$said" "$@"; }
    refused_by nonsense 1 Docker br1 web 10.1.1.2/24 || fail "Docker said: $said"
    assert_unchanged
  done
}

# elsewhere WORD… — pipework with DOCKER_HOST=$WHERE.
elsewhere() { DOCKER_HOST=$WHERE pw "$@"; }

@test "Docker is not there: socket missing, dead, or no socket at all" {
  netns_guest web
  remember web
  WHERE=unix://$BATS_TEST_TMPDIR/none.sock
  refused_by elsewhere 1 "Docker is not running: nobody listens on '$BATS_TEST_TMPDIR/none.sock'" br1 web 10.1.1.2/24
  WHERE=unix://$BATS_TEST_TMPDIR/dead.sock
  node -e 'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))' \
    "$BATS_TEST_TMPDIR/dead.sock" || true
  [[ -S $BATS_TEST_TMPDIR/dead.sock ]]
  refused_by elsewhere 1 'Docker is not running' br1 web 10.1.1.2/24
  touch "$BATS_TEST_TMPDIR/file"
  WHERE=unix://$BATS_TEST_TMPDIR/file
  refused_by elsewhere 1 'Docker' br1 web 10.1.1.2/24
  WHERE=tcp://127.0.0.1:9
  refused_by elsewhere 1 'docker inspect failed' br1 web 10.1.1.2/24
  assert_unchanged
  # Who does not ask Docker does not need it.
  DOCKER_HOST=unix://$BATS_TEST_TMPDIR/none.sock pw br1 netns:web 10.1.1.2/24
}

# --- who may, and what is installed ----------------------------------------------------------------------

# as_nobody WORD… — a copy of pipework that everybody may read, run by nobody.
as_nobody() {
  on_host env -u NODE_EXTRA_CA_CERTS -u DOCKER_HOST setpriv --reuid=65534 --regid=65534 --clear-groups \
    /run/pipework-copy "$@"
}

@test "not root: one line that says so; a dry run needs no root, but Docker's socket" {
  need setpriv util-linux
  netns_guest web
  start_guest box
  on_host install -m 755 "$PIPEWORK" /run/pipework-copy
  remember web
  refused_by as_nobody 1 'only root can change network interfaces' br1 netns:web 10.1.1.2/24
  run --separate-stderr as_nobody br1 netns:web 10.1.1.2/24
  (($(wc -l <<< "$stderr") == 1))
  refused_by as_nobody 1 'only root' disconnect netns:web
  refused_by as_nobody 2 'Did you mean 10.1.1.2/24?' br1 netns:web 10.1.1.2
  refused_by as_nobody 1 "no permission on Docker's socket '/var/run/docker.sock'" --dry-run br1 box 10.1.1.2/24
  run --separate-stderr as_nobody --dry-run br1 netns:web 10.1.1.2/24
  assert_exit 0
  assert_out 'ip link add'
  as_nobody ls
  as_nobody --version
  as_nobody --help > "$BATS_TEST_TMPDIR/help"
  assert_unchanged
}

# stripped WORD… — pipework as a root that may not administer networks.
stripped() {
  on_host env -u NODE_EXTRA_CA_CERTS setpriv --bounding-set=-net_admin --inh-caps=-net_admin "$PIPEWORK" "$@"
}

@test "root without the right to administer networks: the kernel's refusal, and nothing is left" {
  need setpriv util-linux
  netns_guest web
  remember web
  refused_by stripped 1 'not permitted' br1 netns:web 10.1.1.2/24
  assert_unchanged
}

# with_farm WORD… — pipework with FARM as its PATH.
with_farm() {
  on_host env -u NODE_EXTRA_CA_CERTS PATH="$FARM" "$PIPEWORK" "$@"
}

@test "a tool is missing: said with its package, nothing left; without arping it works" {
  netns_guest web
  on_host ip link add br1 type bridge
  on_host ip link set dev br1 up
  remember web
  FARM=$BATS_TEST_TMPDIR/no-ip
  farm "$FARM" sysctl nsenter timeout arping
  refused_by with_farm 1 "'ip' is not installed" br1 netns:web 10.1.1.2/24
  refused_by with_farm 1 'apt install iproute2' br1 netns:web 10.1.1.2/24
  refused_by with_farm 1 "'ip' is not installed" br2 netns:web 10.1.1.2/24
  assert_unchanged
  FARM=$BATS_TEST_TMPDIR/no-sysctl
  farm "$FARM" ip nsenter timeout arping
  refused_by with_farm 1 sysctl br2 netns:web 10.1.1.2/24
  assert_unchanged
  if command -v arping > /dev/null; then
    FARM=$BATS_TEST_TMPDIR/no-nsenter
    farm "$FARM" ip sysctl timeout arping
    refused_by with_farm 1 nsenter br1 netns:web 10.1.1.2/24
    FARM=$BATS_TEST_TMPDIR/no-timeout
    farm "$FARM" ip sysctl nsenter arping
    refused_by with_farm 1 timeout br1 netns:web 10.1.1.2/24
    assert_unchanged
  fi

  # cron, and su on Debian, have no sbin on the PATH
  FARM=$(dirname "$(realpath "$(command -v node)")"):/usr/bin:/bin
  run --separate-stderr with_farm --dry-run --bridge-address 10.1.1.1/24 --nat br2 netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 0
  run --separate-stderr with_farm br1 netns:web 10.1.1.2/24
  assert_exit 0
  pw -q disconnect netns:web
  assert_unchanged

  FARM=$BATS_TEST_TMPDIR/no-arping
  farm "$FARM" ip sysctl nsenter
  run --separate-stderr with_farm --json br1 netns:web 10.1.1.2/24
  assert_exit 0
  assert_json "$output" '.ok and .changed and all(.steps[]; test("^ask ") | not)'
  run ! assert_unchanged
}

# with_readonly_run WORD… — pipework where /run/netns cannot be written.
with_readonly_run() {
  # shellcheck disable=SC2016 # expanded in the namespace
  on_host unshare --mount sh -c 'mount --bind /run/netns /run/netns && mount -o remount,bind,ro /run/netns &&
    exec env -u NODE_EXTRA_CA_CERTS "$0" "$@"' "$PIPEWORK" "$@"
}

@test "/run/netns cannot be written: an error that names it" {
  netns_guest web
  remember web
  refused_by with_readonly_run 1 /run/netns br1 netns:web 10.1.1.2/24
  assert_unchanged
}

@test "/sys shows another network namespace: an error that names it, and nothing is left there" {
  local before
  netns_guest web
  netns_guest other
  remember web
  before=$(guest_state other)
  # As nsenter does when it is told of the network alone.
  run --separate-stderr on_host nsenter --net=/run/netns/other env -u NODE_EXTRA_CA_CERTS "$PIPEWORK" \
    br1 netns:web 10.1.1.2/24 --no-probe
  assert_exit 1
  assert_err '/sys shows another network namespace'
  assert_err 'mount sysfs on /sys'
  assert_same_state "$before" "$(guest_state other)"
  assert_unchanged
}

# --- streams ---------------------------------------------------------------------------------------------

@test "the output is not read: the work is done, and only a full device is a failure" {
  local guest
  for guest in a b c d; do netns_guest "$guest"; done
  pw br1 netns:a 10.1.1.1/24 >&-
  if pw br1 netns:b 10.1.1.2/24 > /dev/full; then fail 'written to a full device'; fi
  pw br1 netns:c 10.1.1.3/24 | true
  pw --verbose br1 netns:d 10.1.1.4/24 2>&1 | head -n 1
  wait_until 30 test "$(pw ls --json | jq '.attachments | length')" = 4
  pw ls | head -n 1 > "$BATS_TEST_TMPDIR/first"
  [[ ${PIPESTATUS[0]} == 0 ]]
  grep -q GUEST "$BATS_TEST_TMPDIR/first"
  run pw br1 netns:a 10.1.1.1 2>&-
  assert_exit 2
}

# --- output, signals and PATH ------------------------------------------------------------------------------

@test "a result that cannot be written is a failure, a reader that has gone is none" {
  need_host
  run --separate-stderr on_host sh -c "'$PIPEWORK' save > /dev/full"
  assert_exit 1
  assert_err 'could not write the result: '
  run --separate-stderr on_host sh -c "'$PIPEWORK' --version > /dev/full"
  assert_exit 1
  run --separate-stderr on_host bash -o pipefail -c "'$PIPEWORK' help --man | true"
  assert_exit 0
}

@test "without a PATH nothing of the current directory runs" {
  need_host
  mkdir "$BATS_TEST_TMPDIR/here"
  printf '#!/bin/sh\ntouch %q\n' "$BATS_TEST_TMPDIR/ran" > "$BATS_TEST_TMPDIR/here/ip"
  chmod +x "$BATS_TEST_TMPDIR/here/ip"
  netns_guest web
  on_host sh -c "cd '$BATS_TEST_TMPDIR/here' && env -i '$(command -v node)' '$PIPEWORK' inspect netns:web" > /dev/null
  on_host sh -c "cd '$BATS_TEST_TMPDIR/here' && PATH=:.:\$PATH '$PIPEWORK' inspect netns:web" > /dev/null
  [[ ! -e $BATS_TEST_TMPDIR/ran ]]
}

@test "an ignored SIGHUP does not end a run" {
  netns_guest web
  on_host sh -c "trap '' HUP; '$PIPEWORK' br1 netns:web 192.0.2.9/24; echo \$? > '$BATS_TEST_TMPDIR/code'" &
  sleep 0.3
  # The process whose command line is pipework's, a child of that shell.
  pkill -HUP -P "$!" 2> /dev/null || true
  wait "$!"
  [[ $(< "$BATS_TEST_TMPDIR/code") == 0 ]]
}
