#!/usr/bin/env bats
# Addresses by DHCP, with each client, from real servers.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own
load rig
load promise
load dhcp

setup() { dhcp_setup; }
teardown() { dhcp_teardown; }

# keeps_lease CLIENT [WORD] — the whole life of a lease with this client.
keeps_lease() {
  local client=$1 word=${2-$1} before
  need "$client" "$client"
  guard_resolv_conf
  start_guest web
  lan_bridge
  remember web
  RANGE=192.168.77.100,192.168.77.150,255.255.255.0,2m serve_dhcp --dhcp-option=3,192.168.77.1 \
    --dhcp-option=6,192.168.77.1 --dhcp-option=15,lan.test --dhcp-option=121,10.50.0.0/16,192.168.77.9,0.0.0.0/0,192.168.77.1
  run_pw --json --dhcp-dns br1 web "$word"
  assert_exit 0
  assert_json "$output" ".ok and .changed and .attachment.leases[0] == (.attachment.leases[0] + {client: \"$client\", server: \"192.168.77.1\", state: \"kept\"})"
  assert_json "$(link web eth1)" '.addr_info[0] | .broadcast == "192.168.77.255" and .prefixlen == 24 and .valid_life_time > 60'
  assert_json "$(in_guest web ip -j route)" 'map(select(.dst == "default" and .gateway == "192.168.77.1")) | length == 1'
  assert_json "$(in_guest web ip -j route)" 'map(select(.dst == "10.50.0.0/16" and .gateway == "192.168.77.9")) | length == 1'
  ping_from web 192.168.77.1
  served 'client provides name: web'
  [[ $(docker exec web cat /etc/resolv.conf) == $'search lan.test\nnameserver 192.168.77.1' ]]
  before=$(addresses web)

  run_pw --dhcp-dns br1 web "$word"
  assert_exit 0
  assert_out 'nothing changed'
  (($(count_served DHCPACK) == 1))

  # It is the keeper's work that the client comes back, and the lease with it.
  kill -KILL "$(pid_of pid)"
  wait_until 30 test_count DHCPACK 2
  [[ $(addresses web) == "$before" ]]
  wait_until 30 test "$(lease_of web | jq -r .state)" = kept

  run_pw disconnect web
  assert_exit 0
  assert_out "release ${before%/*} to"
  wait_until 10 served DHCPRELEASE "${before%/*}"
  no_clients
  assert_as_remembered
  run on_host ls /run/pipework/dhcp
  [[ -z $output ]]
  assert_resolv_conf
}

@test "udhcpc: lease, routes, hostname; the same again; killed and back; given back by disconnect" {
  keeps_lease udhcpc
}

@test "dhclient: the same" {
  keeps_lease dhclient dhclient-f
}

@test "dhcpcd: the same" {
  keeps_lease dhcpcd
}

# --- what is not there, or not to be trusted -------------------------------------------------------------

# fails_for SECONDS CLIENTS MESSAGE — with each of them, side by side, an attach fails so, and leaves all as it was.
fails_for() {
  local client said runs=()
  for client in $2; do
    pw --dhcp-timeout "$1" br1 "netns:for-$client" "$client" > "$BATS_TEST_TMPDIR/$client.out" 2>&1 3>&- &
    runs+=("$!")
  done
  wait "${runs[@]}" || true
  for client in $2; do
    said=$(< "$BATS_TEST_TMPDIR/$client.out")
    [[ $said == "pipework: "*"$3"* ]] || fail "$client: $said"
  done
  no_clients
  [[ -z $(on_host ls /run/pipework/dhcp) ]]
  assert_as_remembered
}

@test "no server, no acknowledgement, a refusal, a lie: each is told, and the host is as it was" {
  local client
  guard_resolv_conf
  for client in udhcpc dhclient dhcpcd; do netns_guest "for-$client"; done
  lan_bridge
  remember for-udhcpc for-dhclient for-dhcpcd
  fails_for 1 'udhcpc dhclient dhcpcd' "on 'br1' within 1 s: no server made an offer"
  serve_oddly offer
  fails_for 5 'udhcpc dhclient dhcpcd' 'a server made an offer but did not acknowledge the request'
  stop_dhcp
  serve_oddly nak
  fails_for 5 'udhcpc dhclient dhcpcd' 'the server refused the request (NAK)'
  stop_dhcp
  serve_oddly evil
  fails_for 30 'udhcpc dhclient dhcpcd' '127.0.0.1 is a loopback address'
  assert_resolv_conf
}

# has_address GUEST ADDRESS — that is all that its eth1 has of IPv4.
has_address() {
  [[ $(addresses "$1") == "$2" ]]
}

# all_clients CMD… — CMD with each client and the last byte of its guest's address, in the same moment of all of them.
all_clients() {
  "$@" udhcpc 60 && "$@" dhclient 70 && "$@" dhcpcd 80
}

# each of them is for one client, whose guest is for-CLIENT, and the byte BYTE
attach_short() { pw br1 "netns:for-$1" "$1" "02:00:00:00:00:$(printf %x "$2")"; }
watch_addresses() {
  on_host_exec nsenter --net="/run/netns/for-$1" ip -4 monitor address > "$BATS_TEST_TMPDIR/$1.monitor" 3>&- 4>&- &
  MONITORS+=("$!")
}
had_no_gap() { ! grep -h Deleted "$BATS_TEST_TMPDIR/$1.monitor"; }
renewed_thrice() { test_count "ACK 192.168.77.$2" 3; }
has_first() { has_address "for-$1" "192.168.77.$2/24"; }
has_next() { has_address "for-$1" "192.168.77.$(($2 + 1))/24"; }
has_none() { has_address "for-$1" ''; }
is_kept() { [[ $(lease_of "for-$1" | jq -r '.state, .address') == $'kept\n'"192.168.77.$2/24" ]]; }
is_moved() { is_kept "$1" "$(($2 + 1))"; }
is_lost() { [[ $(lease_of "for-$1" | jq -c '[.state, .address]') == '["lost",null]' ]]; }
attach_again() { [[ $(attach_short "$@") == *'nothing changed'* ]]; }
routes_by_it() { [[ $(routes "for-$1" 4) == 'default via 192.168.77.1 dev eth1'* ]]; }
records_next() {
  assert_json "$(pw ls --json)" "any(.attachments[]; .guest.name == \"for-$1\" and .addresses == [\"192.168.77.$(($2 + 1))/24@192.168.77.1\"])"
}

@test "renewed in time; another address at renewal; a lost lease; all of it without a hand, with each client" {
  local client
  for client in udhcpc dhclient dhcpcd; do netns_guest "for-$client"; done
  lan_bridge
  remember for-udhcpc for-dhclient for-dhcpcd
  serve_oddly short
  all_clients attach_short
  all_clients has_first
  all_clients watch_addresses
  # Ten seconds are over: the second renewal has been acknowledged.
  wait_until 60 all_clients renewed_thrice
  kill "${MONITORS[@]}"
  all_clients had_no_gap
  all_clients has_first
  all_clients is_kept

  touch "$ODD/MOVE"
  wait_until 60 all_clients has_next
  wait_until 10 all_clients is_moved
  all_clients records_next
  all_clients routes_by_it
  all_clients attach_again

  # Nobody renews it: it goes when its time is over, and not before somebody else may have it.
  stop_dhcp
  wait_until 60 all_clients has_none
  wait_until 20 all_clients is_lost
  [[ $(clients | grep -cE '^(udhcpc|dhclient|unshare) ') == 3 ]]
  serve_oddly short
  wait_until 90 all_clients has_next
  wait_until 10 all_clients is_moved
  for client in udhcpc dhclient dhcpcd; do pw disconnect "netns:for-$client"; done
  no_clients
  assert_as_remembered
}

@test "what a server says of other networks is not done" {
  netns_guest web
  on_host ip link add up0 type veth peer name eth0 netns web
  in_guest web ip -batch - <<< $'addr add 10.20.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 10.20.0.1 metric 5'
  lan_bridge
  remember web
  serve_oddly far
  run_pw br1 netns:web dhcp
  assert_exit 0
  assert_json "$(in_guest web ip -j route)" 'map("\(.dst) \(.dev) \(.metric // 0)") | sort ==
    ["10.20.0.0/24 eth0 0", "192.168.77.0/24 eth1 0", "default eth0 5", "default eth1 0"]'
  run_pw --no-default-route --force br1 netns:web dhcp
  assert_exit 0
  assert_json "$(in_guest web ip -j route)" 'map(select(.dst == "default") | .dev) == ["eth0"]'
  assert_undone netns:web
}

# --- the end of a guest ----------------------------------------------------------------------------------

# ports — the ports of br1 but for the NIC.
ports() {
  on_host ip -j link show master br1 | jq -r '.[].ifname | select(. != "eth0")'
}

no_ports() {
  [[ -z $(ports) ]]
}

@test "the container dies: client and link are gone at once; the same address comes back; given back without it" {
  local before client
  lan_bridge
  serve_dhcp
  for client in udhcpc dhclient dhcpcd; do
    start_guest "for-$client"
    pw br1 "for-$client" "$client" 26:2e:71:98:60:01
    before=$(addresses "for-$client")
    docker kill "for-$client" > /dev/null
    # 0.5 s to notice; the rest is for a machine that is busy.
    wait_until 5 no_clients
    wait_until 5 no_ports

    docker start "for-$client" > /dev/null
    pw br1 "for-$client" "$client" 26:2e:71:98:60:02
    [[ $(addresses "for-$client") == "$before" ]]
    docker rm --force "for-$client" > /dev/null
    wait_until 5 no_clients
    run_pw disconnect "for-$client"
    assert_exit 0
    assert_out "release ${before%/*} to"
    wait_until 10 served DHCPRELEASE "${before%/*}"
  done
  [[ -z $(on_host ls /run/pipework/dhcp) && -z $(on_host ls /run/netns) ]]
  no_ports
  run_pw disconnect for-udhcpc
  assert_exit 1
}

@test "what stands in for a guest that is gone goes after every step, and after kill -9; orphans go with the next run" {
  local steps n before
  lan_bridge
  serve_dhcp
  netns_guest gone
  pw br1 netns:gone dhcp
  on_host ip netns del gone
  wait_until 10 no_clients
  wait_until 5 no_ports
  on_host cp -a /run/pipework/dhcp "$BATS_TEST_TMPDIR/dhcp"
  before=$(host_state)
  steps=$(pw --dry-run --json disconnect netns:gone | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw disconnect netns:gone
    # The lease runs out then; who cannot even forget it says so.
    assert_exit "$((n == 0))" || fail "failing after step $n"
    assert_same_state "$before" "$(host_state)" || fail "failing after step $n"
    [[ -z $(on_host ls /run/netns) ]] || fail "failing after step $n: $(on_host ls /run/netns)"
    on_host cp -a "$BATS_TEST_TMPDIR/dhcp" /run/pipework/
  done
  for n in 1 3 "$((steps - 2))"; do
    PIPEWORK_KILL_AFTER=$n run -137 pw disconnect netns:gone
    run_pw disconnect netns:gone
    assert_exit 0 || fail "killed after step $n"
    assert_same_state "$before" "$(host_state)" || fail "killed after step $n"
    [[ -z $(on_host ls /run/netns) ]] || fail "killed after step $n: $(on_host ls /run/netns)"
    on_host cp -a "$BATS_TEST_TMPDIR/dhcp" /run/pipework/
  done
  (($(count_served DHCPRELEASE) >= 3))

  # A lease that has run out goes with whatever is attached next,
  # shellcheck disable=SC2016 # expanded on the host
  on_host sh -c 'for lease in /run/pipework/dhcp/*/lease; do sed -i "s/\"since\":[0-9]*/\"since\":1/" "$lease"; done'
  netns_guest other
  pw br1 netns:other 192.168.77.40/24 --no-probe
  [[ -z $(on_host ls /run/pipework/dhcp) ]]
  # and a keeper that did not notice with whatever is disconnected.
  netns_guest gone
  pw br1 netns:gone dhcp
  kill -STOP "$(pid_of keeper)"
  on_host ip netns del gone
  pw disconnect netns:other
  wait_until 10 no_clients
  on_host ip netns del other
}

@test "kill -9 of the keeper, and of pipework after each step: nothing is left running, and the next run heals it" {
  local steps n
  netns_guest web
  lan_bridge
  serve_dhcp
  pw br1 netns:web dhcp
  kill -KILL "$(pid_of keeper)"
  wait_until 10 no_clients
  assert_json "$(lease_of web)" '.state == "ended"'
  run_pw br1 netns:web dhcp
  assert_exit 0
  assert_json "$(lease_of web)" '.state == "kept"'
  pw disconnect netns:web
  remember web

  steps=$(pw --dry-run --json br1 netns:web dhcp | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_KILL_AFTER=$n run -137 pw br1 netns:web dhcp
    run_pw br1 netns:web dhcp
    assert_exit 0 || fail "after kill -9 at step $n"
    assert_json "$(lease_of web)" '.state == "kept"'
    [[ $(clients | grep -c '^udhcpc') == 1 ]] || fail "after step $n: $(clients)"
    assert_undone netns:web
  done
  # A client that was started for a run that is no more, and whose link is taken away by hand.
  PIPEWORK_KILL_AFTER=$((steps - 1)) run -137 pw br1 netns:web dhcp
  in_guest web ip link del eth1
  wait_until 10 no_clients
}

# --- undone after every step -----------------------------------------------------------------------------

# rolls_back GUEST WORD… — the words fail after each of their steps in turn, and each time all is as it was, to the
# clients; then they succeed.
rolls_back() {
  local guest=$1 steps n before running
  shift
  steps=$(pw --dry-run --json "$@" | jq '.steps | length')
  before=$(host_state; guest_state "$guest")
  running=$(clients | sed 's/pipework-[0-9-]*//')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "$@"
    assert_exit 1 || fail "failing after step $n"
    assert_err "stopped after step $n of $steps"
    wait_until 20 has_clients "$running"
    # A client that was started again has news, which its keeper makes true.
    wait_until 20 is_as "$before" "$guest" ||
      assert_same_state "$before" "$(host_state; guest_state "$guest")" || fail "after step $n of: $*"
  done
  run_pw "$@"
  assert_exit 0
}

is_as() {
  [[ $(host_state; guest_state "$2") == "$1" ]]
}

has_clients() {
  [[ $(clients | sed 's/pipework-[0-9-]*//') == "$1" ]]
}

@test "undone after every step: a new link, another client, typed addresses instead, disconnect" {
  netns_guest web
  on_host ip link add up0 type veth peer name eth0 netns web
  on_host ip link set dev up0 up
  in_guest web ip -batch - <<< $'addr add 10.20.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 10.20.0.1'
  lan_bridge
  serve_dhcp --dhcp-option=121,10.50.0.0/16,192.168.77.9,0.0.0.0/0,192.168.77.1
  remember web
  rolls_back web br1 netns:web dhcp
  assert_json "$(lease_of web)" '.client == "udhcpc" and .state == "kept"'
  rolls_back web br1 netns:web dhclient,fd00::5/64 --no-probe
  assert_json "$(lease_of web)" '.client == "dhclient" and .state == "kept"'
  rolls_back web br1 netns:web 192.168.77.40/24@192.168.77.1 --no-probe
  [[ $(addresses web) == 192.168.77.40/24 ]]
  no_clients
  served DHCPRELEASE
  pw br1 netns:web dhcp
  rolls_back web disconnect netns:web
  assert_as_remembered
}

# --- where the client is, and how many -------------------------------------------------------------------

@test "over a macvlan, and over a port of Open vSwitch" {
  need ovs-vsctl openvswitch-switch
  start_guest web
  remember web
  serve_dhcp
  pw eth0 web dhcp
  ping_from web 192.168.77.1
  assert_json "$(pw ls --json)" 'any(.attachments[]; .hostif == "eth0" and .leases[0].state == "kept")'
  run_pw eth0 web dhcp
  assert_out 'nothing changed'
  docker restart --time 0 web > /dev/null
  wait_until 5 no_clients
  run_pw disconnect web
  assert_exit 0
  wait_until 10 served DHCPRELEASE
  no_clients

  start_ovs
  pw ovs1 -i eth2 web 0/0
  on_host ip link set dev eth0 up
  on_host ovs-vsctl --timeout=10 add-port ovs1 eth0
  pw ovs1 web dhclient
  ping_from web 192.168.77.1
  pw disconnect web
  (($(count_served DHCPRELEASE) == 2))
  # In a VLAN, and given back when the container is gone.
  on_host ovs-vsctl --timeout=10 set port eth0 tag=10
  pw ovs1 web udhcpc @10
  docker kill web > /dev/null
  wait_until 5 no_clients
  run_pw disconnect web
  assert_exit 0
  (($(count_served DHCPRELEASE) == 3))
  [[ -z $(on_host ls /run/pipework/dhcp) && -z $(on_host ls /run/netns) ]]
  [[ $(on_host ovs-vsctl --timeout=10 list-ports ovs1) == eth0 ]]
  on_host ovs-vsctl --timeout=10 --if-exists del-br ovs1
  stop_ovs
}

@test "ten containers at once have ten addresses, and give ten back at once" {
  local number runs=()
  lan_bridge
  serve_dhcp
  for number in {1..10}; do
    start_guest "g$number" 3>&- &
    runs+=("$!")
  done
  wait "${runs[@]}"
  runs=()
  for number in {1..10}; do
    pw br1 "g$number" "$(sed -n "$((number % 3 + 1))p" <<< $'udhcpc\ndhclient\ndhcpcd')" \
      > "$BATS_TEST_TMPDIR/$number.out" 2>&1 3>&- &
    runs+=("$!")
  done
  wait "${runs[@]}" || fail "$(cat "$BATS_TEST_TMPDIR"/*.out)"
  assert_json "$(pw ls --json)" '[.attachments[] | .leases[0] | select(.state == "kept") | .address] | unique | length == 10'
  [[ $(for number in {1..10}; do addresses "g$number"; done | sort -u | wc -l) == 10 ]]
  for number in {1..10}; do served "client provides name: g$number"; done
  runs=()
  for number in {1..10}; do
    pw disconnect "g$number" > "$BATS_TEST_TMPDIR/$number.out" 2>&1 3>&- &
    runs+=("$!")
  done
  wait "${runs[@]}" || fail "$(cat "$BATS_TEST_TMPDIR"/*.out)"
  wait_until 10 test_count DHCPRELEASE 10
  no_clients
  [[ -z $(on_host ls /run/pipework/dhcp) ]]
}

# --- options and the rest --------------------------------------------------------------------------------

@test "--dhcp-once, --dhcp-dns, --metric, an MTU, options, a typed address beside: and no host file is touched" {
  guard_resolv_conf
  start_guest web
  lan_bridge
  remember web
  serve_dhcp --dhcp-option=26,1400 --dhcp-option=6,192.168.77.53,192.168.77.54 --domain=lan.test
  run_pw --json --dhcp-once --dhcp-dns --metric 50 br1 web 'udhcpc:-O mtu -V "my app",192.168.88.5/24,fd00::5/64' --no-probe
  assert_exit 0
  assert_json "$output" '.attachment.leases[0].state == "once"'
  wait_until 10 no_clients
  served 'vendor class: my app'
  [[ $(addresses web) == *192.168.77.1*/24*192.168.88.5/24*fd00::5/64* ]]
  assert_json "$(link web eth1)" '.mtu == 1400 and all(.addr_info[]; .valid_life_time == 4294967295)'
  assert_json "$(in_guest web ip -j route show default)" '.[0].metric == 50'
  docker exec web cat /etc/resolv.conf
  [[ $(docker exec web cat /etc/resolv.conf) == $'search lan.test\nnameserver 192.168.77.53\nnameserver 192.168.77.54' ]]
  run_pw --dhcp-once --dhcp-dns --metric 50 br1 web 'udhcpc:-O mtu -V "my app",192.168.88.5/24,fd00::5/64' --no-probe
  assert_out 'nothing changed'
  run_pw disconnect web
  assert_exit 0
  wait_until 10 served DHCPRELEASE
  assert_as_remembered
  assert_resolv_conf
  # refused before anything is changed
  run_pw br1 web 'udhcpc:-s /tmp/evil'
  assert_refused 2 "'-s' is not passed on to udhcpc"
  run_pw br1 web dhcp --route 10.0.0.0/8
  assert_refused 2 'the routes of a leased address'
  run_pw br1 web 10.0.0.2/24 --dhcp-once
  assert_refused 2 'needs an address by DHCP'
}

@test "--dhcp-dns in a container of Podman, which has a file for it unless its network is none" {
  need_podman
  guard_resolv_conf
  on_host ip netns add pod
  start_podman_guest wired --network ns:/run/netns/pod
  start_podman_guest none
  lan_bridge
  remember podman:wired podman:none
  serve_dhcp --dhcp-option=6,192.168.77.53
  run_pw --dhcp-dns br1 podman:wired dhclient
  assert_exit 0
  [[ $(on_host podman exec wired cat /etc/resolv.conf) == 'nameserver 192.168.77.53' ]]
  assert_undone podman:wired
  run_pw --dhcp-dns br1 podman:none dhclient
  assert_refused 1 "the resolv.conf of 'none' cannot be found" 'With --network none'
  assert_resolv_conf
}

@test "--dry-run prints a script that does the same, and changes nothing" {
  netns_guest web
  lan_bridge
  remember web
  serve_dhcp
  run_pw --dry-run br1 netns:web dhcp
  assert_exit 0
  echo "$output" > "$BATS_TEST_TMPDIR/script"
  assert_as_remembered
  no_clients
  on_host sh "$BATS_TEST_TMPDIR/script"
  assert_json "$(lease_of web)" '.state == "kept"'
  run_pw br1 netns:web dhcp
  assert_out 'nothing changed'
  run_pw inspect netns:web
  assert_out 'lease     kept from 192.168.77.1 until '
  assert_out ' UTC, by udhcpc'
  run_pw --dry-run disconnect netns:web
  echo "$output" > "$BATS_TEST_TMPDIR/script"
  on_host sh "$BATS_TEST_TMPDIR/script"
  no_clients
  served DHCPRELEASE
  assert_as_remembered
}

@test "without a client on the host, and with nothing to be executed in /run: that of the busybox image, which goes with the rest" {
  start_guest web
  lan_bridge
  remember web
  serve_dhcp
  # PATH has all that the host has, but for the clients.
  mkdir "$BATS_TEST_TMPDIR/path"
  find /usr/local/bin /usr/bin /usr/sbin /bin /sbin -maxdepth 1 -executable ! -name 'udhcpc*' ! -name 'dhc*' ! -name busybox \
    -exec ln -sf -t "$BATS_TEST_TMPDIR/path" {} +
  # as on Debian
  on_host mount -o remount,noexec /run
  run --separate-stderr on_host env PATH="$BATS_TEST_TMPDIR/path" "$PIPEWORK" -v br1 web dhcp
  on_host mount -o remount,exec /run
  assert_exit 0
  assert_err 'udhcpc of the busybox image'
  assert_json "$(lease_of web)" '.client == "busybox image" and .state == "kept"'
  [[ $(docker ps --format '{{.Image}}' | grep -c busybox) == 2 ]]
  run_pw disconnect web
  assert_exit 0
  served DHCPRELEASE
  wait_until 10 alone
  assert_as_remembered
  docker rm --force web > /dev/null
}

@test "dhclient under the AppArmor of Debian has its files where that allows them, and dies with its keeper" {
  netns_guest web
  lan_bridge
  remember web
  serve_dhcp
  # AppArmor itself cannot be loaded here: the list of its profiles stands in for it.
  on_host mount -t tmpfs tmpfs /sys/kernel/security
  on_host mkdir /sys/kernel/security/apparmor
  on_host sh -c 'echo "/{,usr/}sbin/dhclient (enforce)" > /sys/kernel/security/apparmor/profiles; mount -o remount,noexec /run'
  run_pw br1 netns:web dhclient
  on_host sh -c 'umount /sys/kernel/security; mount -o remount,exec /run'
  assert_exit 0
  assert_json "$(lease_of web)" '.client == "dhclient" and .state == "kept"'
  # Of all that is on its command line only what the hook is told is a path of ours.
  [[ $(clients | grep '^dhclient ' | sed 's/PIPEWORK_DHCP=[^ ]*//') != */run/* ]]
  clients | grep -q '^dhclient .*-sf /sbin/dhclient-script -lf /var/lib/dhcp/dhclient.leases -cf /etc/dhcp/dhclient.conf'
  [[ ! -e /var/lib/dhcp/client && ! -e /etc/dhcp/client ]]
  kill -KILL "$(pid_of keeper)"
  wait_until 10 no_clients
  run_pw disconnect netns:web
  assert_exit 0
  wait_until 10 served DHCPRELEASE
  assert_as_remembered
}

# alone — web is the only container.
alone() {
  [[ $(docker ps --all --format '{{.Names}}') == web ]]
}

@test "a file with a lease: up again asks nobody, save writes the word and not the lease, down gives it back" {
  need udhcpc udhcpc
  cd "$BATS_TEST_TMPDIR" || return
  start_guest web
  lan_bridge
  serve_dhcp
  echo "br1 web \"dhcp:'-x hostname:a,b',192.168.99.2/24\"" > lan.pipework
  run_pw up lan.pipework
  assert_exit 0
  assert_out '1 created ('
  run_pw up lan.pipework
  assert_exit 0
  assert_out '1 unchanged ('
  (($(count_served DHCPACK) == 1))
  run_pw save
  assert_out "br1 web 'dhcp:'\\''-x hostname:a,b'\\'',192.168.99.2/24'"
  printf '%s\n' "$output" > lan.pipework
  run_pw diff lan.pipework
  assert_exit 0
  run_pw down lan.pipework
  assert_exit 0
  wait_until 30 served DHCPRELEASE
}

@test "where nothing in /run can be executed, as on Debian, and a name that a server may not like" {
  on_host ip netns add my_web.1
  lan_bridge
  remember my_web.1
  serve_dhcp
  on_host mount -o remount,noexec /run
  run_pw br1 netns:my_web.1 dhcp
  on_host mount -o remount,exec /run
  assert_exit 0
  served 'client provides name: my-web-1'
  assert_undone netns:my_web.1
}

# forwards PORT — the bridge passes on what comes from there.
forwards() {
  [[ $(on_host cat "/sys/class/net/$1/brport/state") == 3 ]]
}

@test "a port that does not forward yet: the client asks when it does, and once" {
  netns_guest web
  lan_bridge
  on_host ip link set dev br1 type bridge stp_state 1 forward_delay 200
  wait_until 30 forwards eth0
  serve_dhcp
  run_pw br1 netns:web dhclient
  assert_exit 0
  on_host sh -c 'cat /run/pipework/dhcp/*/log' > "$BATS_TEST_TMPDIR/log"
  [[ $(grep -c '^DHCPDISCOVER on' "$BATS_TEST_TMPDIR/log") == 1 ]] || fail "$(< "$BATS_TEST_TMPDIR/log")"
  run_pw disconnect netns:web
}
