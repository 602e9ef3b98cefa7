#!/usr/bin/env bats
# Routes: several default gateways, none, more routes, replies that leave where the request came in; MTU and checksum
# offload. IPv4 and IPv6, on the kernel's own word.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own
load rig
load promise

setup() {
  need_host
}

teardown() {
  clean_host
}

# way GUEST DESTINATION [WORD…] — the interface and the gateway that the kernel chooses for it: "eth1 via 10.1.0.1".
way() {
  in_guest "$1" ip -j route get "${@:2}" | jq -r '.[0] | .dev + (if .gateway then " via " + .gateway else "" end)'
}

# defaults GUEST 4|6 — the default routes: "10.1.0.1 eth1 100", by metric.
defaults() {
  in_guest "$1" ip "-$2" -j route show default | jq -r 'sort_by(.metric // 0) | .[] | "\(.gateway) \(.dev) \(.metric // 0)"'
}

# rules GUEST 4|6 — the addresses of the rules that are not the kernel's, in one line.
rules() {
  in_guest "$1" ip "-$2" -j rule show | jq -r '[.[] | select(.src != "all").src] | sort | join(" ")'
}

# tables GUEST 4|6 — the routes in other tables than the kernel's: "default 10.1.0.1 eth1".
tables() {
  in_guest "$1" ip "-$2" -d -j route show table all |
    jq -r '.[] | select(.table | IN("main", "local", "default") | not) | "\(.dst) \(.gateway // "-") \(.dev)"' | sort
}

# uplinked GUEST — a namespace with an eth0 of its own, as Docker gives it, on the bridge br0: 172.17.0.2 and fd17::2.
uplinked() {
  bridge br0
  on_host ip addr add 172.17.0.1/16 dev br0
  on_host ip addr add fd17::1/64 dev br0 nodad
  netns_guest "$1"
  on_host ip link add "up$1" master br0 type veth peer name eth0 netns "$1"
  on_host ip link set dev "up$1" up
  in_guest "$1" ip -batch - << 'END'
addr add 172.17.0.2/16 brd + dev eth0
addr add fd17::2/64 dev eth0 nodad
link set dev eth0 up
route add default via 172.17.0.1 dev eth0
route add ::/0 via fd17::1 dev eth0
END
}

# again WORD… — the same words change nothing.
again() {
  run_pw --json "$@"
  assert_exit 0
  assert_json "$output" '.ok and .changed == false'
}

# rolls_back GUEST WORD… — fails after each step in turn and leaves all as it was; then succeeds.
rolls_back() {
  local guest=$1 steps n host inside
  shift
  run_pw --dry-run --json "$@"
  assert_exit 0
  steps=$(jq '.steps | length' <<< "$output")
  host=$(host_state) inside=$(guest_state "$guest")
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "$@"
    assert_exit 1 || fail "failing after step $n" || return
    assert_same_state "$inside" "$(guest_state "$guest")" || fail "after step $n of: $*" || return
  done
  assert_same_state "$host" "$(host_state)"
  pw "$@"
}

# heals GUEST PREPARE WORD… — kill -9 after each step, from the state that PREPARE makes: the same words again lead to
# where they lead undisturbed, and disconnect to where all began.
heals() {
  local guest=$1 prepare=$2 steps n fresh inside
  shift 2
  fresh=$(guest_state "$guest")
  "$prepare"
  steps=$(pw --dry-run --json "$@" | jq '.steps | length')
  pw "$@"
  inside=$(guest_state "$guest")
  pw disconnect "netns:$guest"
  assert_same_state "$fresh" "$(guest_state "$guest")"
  for n in $(steps_of 0 "$steps" 2); do
    "$prepare"
    PIPEWORK_KILL_AFTER=$n run -137 pw "$@"
    run_pw "$@"
    assert_exit 0 || fail "after a kill after step $n" || return
    assert_same_state "$inside" "$(guest_state "$guest")" || fail "after a kill after step $n of: $*" || return
    pw disconnect "netns:$guest"
    assert_same_state "$fresh" "$(guest_state "$guest")" || fail "disconnect after a kill after step $n" || return
  done
}

# --- several gateways -------------------------------------------------------------------------------------

@test "--metric: two interfaces have a default route each, and the second serves when the first is gone" {
  netns_guest web
  remember web
  pw --no-probe br1 netns:web --metric 100 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  pw --no-probe br2 netns:web -i eth2 --metric 200 10.2.0.2/24@10.2.0.1,fd02::2/64@fd02::1
  [ "$(defaults web 4)" = $'10.1.0.1 eth1 100\n10.2.0.1 eth2 200' ]
  [ "$(defaults web 6)" = $'fd01::1 eth1 100\nfd02::1 eth2 200' ]
  [ "$(way web 192.0.2.1)" = 'eth1 via 10.1.0.1' ]
  in_guest web ip link set dev eth1 down
  [ "$(way web 192.0.2.1)" = 'eth2 via 10.2.0.1' ]
  [ "$(way web 2001:db8::1)" = 'eth2 via fd02::1' ]
  # Down, it has lost routes and IPv6: they come back.
  pw --no-probe br1 netns:web --metric 100 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(way web 2001:db8::1)" = 'eth1 via fd01::1' ]
  again --no-probe br1 netns:web --metric 100 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  again --no-probe br2 netns:web -i eth2 --metric 200 10.2.0.2/24@10.2.0.1,fd02::2/64@fd02::1
  pw disconnect netns:web eth1
  [ "$(defaults web 4)" = '10.2.0.1 eth2 200' ]
  assert_undone netns:web
}

@test "--metric leaves the guest's own default route, and --metric 0 replaces it" {
  uplinked web
  remember web
  pw --no-probe br1 netns:web --metric 100 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = $'172.17.0.1 eth0 0\n10.1.0.1 eth1 100' ]
  [ "$(way web 192.0.2.1)" = 'eth0 via 172.17.0.1' ]
  [ "$(way web 2001:db8::1)" = 'eth1 via fd01::1' ]
  pw --no-probe br1 netns:web --metric 0 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = '10.1.0.1 eth1 0' ]
  [ "$(defaults web 6)" = 'fd01::1 eth1 1024' ]
  # another metric: what was replaced comes back at once
  pw --no-probe br1 netns:web --metric 7 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = $'172.17.0.1 eth0 0\n10.1.0.1 eth1 7' ]
  [ "$(defaults web 6)" = $'fd01::1 eth1 7\nfd17::1 eth0 1024' ]
  again --no-probe br1 netns:web --metric 7 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  assert_undone netns:web
}

@test "--no-default-route: the gateway is known and no more; on and off again" {
  uplinked web
  remember web
  pw --no-probe br1 netns:web --no-default-route 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = '172.17.0.1 eth0 0' ]
  [ "$(defaults web 6)" = 'fd17::1 eth0 1024' ]
  again --no-probe br1 netns:web --no-default-route 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  pw --no-probe br1 netns:web 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = '10.1.0.1 eth1 0' ]
  pw --no-probe br1 netns:web --no-default-route 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = '172.17.0.1 eth0 0' ]
  [ "$(defaults web 6)" = 'fd17::1 eth0 1024' ]
  assert_undone netns:web
}

# --- more routes ------------------------------------------------------------------------------------------

@test "--route: through the gateway, through a router, outside the subnet, with a metric; both families" {
  netns_guest web
  remember web
  # shellcheck disable=SC2054 # the commas are pipework's
  local words=(--no-probe br1 netns:web 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1 --no-default-route
    --route 10.50.0.0/16 --route 10.51.0.0/16,10.1.0.254 --route 10.52.0.0/16,10.9.9.9,70
    --route fd50::/48 --route fd51::/48,fd01::fe,70 --route fd52::/48,fd99::9)
  pw "${words[@]}"
  [ "$(way web 10.50.1.1)" = 'eth1 via 10.1.0.1' ]
  [ "$(way web 10.51.1.1)" = 'eth1 via 10.1.0.254' ]
  [ "$(way web 10.52.1.1)" = 'eth1 via 10.9.9.9' ]
  [ "$(way web fd50::1)" = 'eth1 via fd01::1' ]
  [ "$(way web fd51::1)" = 'eth1 via fd01::fe' ]
  [ "$(way web fd52::1)" = 'eth1 via fd99::9' ]
  assert_json "$(in_guest web ip -j route)" '.[] | select(.dst == "10.52.0.0/16") | .metric == 70'
  [ -z "$(defaults web 4)$(defaults web 6)" ]
  again "${words[@]}"
  assert_undone netns:web
}

@test "--route: what is no longer asked for goes, with the route to its router; others stay" {
  netns_guest web
  remember web
  pw --no-probe br1 netns:web 10.1.0.2/24,fd01::2/64 --route 10.50.0.0/16 --route 10.52.0.0/16,10.9.9.9 --route fd50::/48,fd99::9
  [ "$(way web 10.50.1.1)" = eth1 ]
  in_guest web ip route add 10.77.0.0/16 via 10.1.0.7 dev eth1
  pw --no-probe br1 netns:web 10.1.0.2/24,fd01::2/64 --route 10.50.0.0/16,10.1.0.5 --route fd50::/48,fd01::5
  [ "$(routes web 4)" = $'10.1.0.0/24 dev eth1 proto kernel scope link src 10.1.0.2\n10.50.0.0/16 via 10.1.0.5 dev eth1\n10.77.0.0/16 via 10.1.0.7 dev eth1' ]
  [ "$(in_guest web ip -6 -j route | jq -r '[.[] | select(.dst | startswith("fd")).dst] | join(" ")')" = 'fd01::/64 fd50::/48' ]
  again --no-probe br1 netns:web 10.1.0.2/24,fd01::2/64 --route 10.50.0.0/16,10.1.0.5 --route fd50::/48,fd01::5
  # another address: the kernel drops the routes with the last one, and they are made again
  pw --no-probe br1 netns:web 10.1.0.3/24,fd01::2/64 --route 10.50.0.0/16,10.1.0.5 --route fd50::/48,fd01::5
  [ "$(way web 10.50.1.1)" = 'eth1 via 10.1.0.5' ]
  [ "$(way web 10.77.1.1)" = 'eth1 via 10.1.0.7' ]
  pw --no-probe br1 netns:web 10.1.0.3/24,fd01::2/64
  [ "$(way web 10.77.1.1)" = 'eth1 via 10.1.0.7' ]
  run ! in_guest web ip route get 10.50.1.1
  assert_undone netns:web
}

@test "what cannot be routed is refused before anything changes" {
  uplinked web
  in_guest web ip route add 10.60.0.0/16 via 172.17.0.9 dev eth0
  remember web
  run_pw br1 netns:web 10.1.0.2/24 --route 10.60.0.0/16
  assert_refused 1 "already has a route to 10.60.0.0/16, over 'eth0'"
  run_pw br1 netns:web 10.1.0.2/24 --route 172.17.0.0/16
  assert_refused 1 "over 'eth0'"
  run_pw br1 netns:web 10.1.0.2/24 --route 10.1.0.0/24
  assert_refused 2 'the subnet of the interface'
  run_pw br1 netns:web 10.1.0.2/24 --route 0.0.0.0/0,10.1.0.1
  assert_refused 2 'default route'
  run_pw br1 netns:web 10.1.0.2/24 --route fd00::/8
  assert_refused 2 'no IPv6 address'
  run_pw br1 netns:web 10.1.0.2/24 --metric 100
  assert_refused 2 'needs a gateway'
  run_pw br1 netns:web 10.1.0.2/24@10.1.0.1 --metric 100 --no-default-route
  assert_refused 2 'metric'
  run_pw br1 netns:web 0/0 --policy-route
  assert_refused 2 'address'
  run_pw br1 netns:web fd01::2/64 --mtu 1279
  assert_refused 2 '1280'
  run_pw eth0 netns:web -i eth2 10.1.0.2/24 --mtu 9000
  assert_refused 1 "whose MTU is 1500"
  run_pw eth0 netns:web -i eth2 10.1.0.2/24 --tx-offload off
  assert_refused 1 'ethtool -K eth0 tx off'
  local many=() n
  for ((n = 10; n < 30; n++)); do many+=(--route "10.$n.0.0/16,192.168.100.$n"); done
  run_pw br1 netns:web 192.168.100.2/24 "${many[@]}"
  assert_refused 1 'does not fit' '--route'
  # the same destination over another interface, with another metric
  pw --no-probe br1 netns:web 10.1.0.2/24 --route 10.60.0.0/16,10.1.0.1,50
  [ "$(way web 10.60.1.1)" = 'eth0 via 172.17.0.9' ]
}

# --- replies that leave where the request came in -----------------------------------------------------------

# client … — a LAN host on the bridge, which is a router too, with an address of its own behind that. It knows the
# subnet of the guest only, so that a reply on the wrong side is lost.
client() { # NAME BRIDGE ROUTER ADDRESS ROUTER6 ADDRESS6
  on_host ip netns add "$1"
  on_host ip link add "lan$1" master "$2" type veth peer name eth0 netns "$1"
  on_host ip link set dev "lan$1" up
  on_host ip -n "$1" -batch - << END
link set dev lo up
link set dev eth0 up
addr add $3 dev eth0
addr add $5 dev eth0 nodad
addr add $4/32 dev lo
addr add $6/128 dev lo nodad
END
}

@test "--policy-route: hosts behind either interface reach the guest, with and without its default route" {
  uplinked web
  client behind0 br0 172.17.0.9/16 198.51.100.1 fd17::9/64 2001:db8:17::1
  in_guest web ip route replace default via 172.17.0.9 dev eth0
  in_guest web ip route replace ::/0 via fd17::9 dev eth0
  remember web
  pw --no-probe br1 netns:web 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  client behind1 br1 10.1.0.1/24 203.0.113.1 fd01::1/64 2001:db8:1::1
  reaches() { on_host ip netns exec "$1" ping -c 1 -W 2 -q -I "$2" "$3" > /dev/null; }
  # Without it the one is served whose side has the default route: replies to the other are lost.
  wait_until 30 reaches behind1 203.0.113.1 10.1.0.2
  run ! reaches behind0 198.51.100.1 172.17.0.2
  local words
  for words in '' --no-default-route '--metric 50'; do
    # shellcheck disable=SC2086 # words
    pw --no-probe br1 netns:web --policy-route $words 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
    wait_until 30 reaches behind1 203.0.113.1 10.1.0.2
    wait_until 30 reaches behind1 2001:db8:1::1 fd01::2
    wait_until 30 reaches behind0 198.51.100.1 172.17.0.2
    wait_until 30 reaches behind0 2001:db8:17::1 fd17::2
    # shellcheck disable=SC2086 # words
    again --no-probe br1 netns:web --policy-route $words 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  done
  pw --no-probe br1 netns:web 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ -z "$(rules web 4)$(rules web 6)$(tables web 4)$(tables web 6)" ]
  on_host ip netns del behind1
  assert_undone netns:web
}

@test "--policy-route: rules and tables are what they should be, converge, and go with disconnect" {
  uplinked web
  remember web
  local words=(--no-probe br1 netns:web --policy-route --no-default-route)
  pw "${words[@]}" 10.1.0.2/24@10.1.0.1,10.1.0.3/24,fd01::2/64@fd01::1
  [ "$(rules web 4)" = '10.1.0.2 10.1.0.3' ]
  [ "$(rules web 6)" = 'fd01::2' ]
  [ "$(tables web 4)" = $'10.1.0.0/24 - eth1\ndefault 10.1.0.1 eth1' ]
  [ "$(tables web 6)" = $'default fd01::1 eth1\nfd01::/64 - eth1' ]
  [ "$(way web 192.0.2.1 from 10.1.0.2)" = 'eth1 via 10.1.0.1' ]
  [ "$(way web 192.0.2.1)" = 'eth0 via 172.17.0.1' ]
  # another address, another gateway, fewer addresses, none of a family
  pw "${words[@]}" 10.1.0.9/24@10.1.0.254,fd01::2/64@fd01::fe
  [ "$(rules web 4) $(rules web 6)" = '10.1.0.9 fd01::2' ]
  [ "$(tables web 4)" = $'10.1.0.0/24 - eth1\ndefault 10.1.0.254 eth1' ]
  [ "$(tables web 6)" = $'default fd01::fe eth1\nfd01::/64 - eth1' ]
  again "${words[@]}" 10.1.0.9/24@10.1.0.254,fd01::2/64@fd01::fe
  pw "${words[@]}" 10.1.0.9/32@10.8.8.8
  [ "$(tables web 4)" = $'10.8.8.8 - eth1\ndefault 10.8.8.8 eth1' ]
  [ -z "$(rules web 6)$(tables web 6)" ]
  again "${words[@]}" 10.1.0.9/32@10.8.8.8
  # what somebody has changed by hand is set right
  in_guest web ip rule del from 10.1.0.9
  pw "${words[@]}" 10.1.0.9/32@10.8.8.8
  [ "$(rules web 4)" = 10.1.0.9 ]
  assert_undone netns:web
}

@test "--policy-route: where the default route is replaced, the other interface's addresses keep their way" {
  uplinked web
  remember web
  pw --no-probe br1 netns:web --policy-route 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  [ "$(defaults web 4)" = '10.1.0.1 eth1 0' ]
  [ "$(rules web 4)" = '10.1.0.2 172.17.0.2' ]
  [ "$(rules web 6)" = 'fd01::2 fd17::2' ]
  [ "$(way web 192.0.2.1 from 172.17.0.2)" = 'eth0 via 172.17.0.1' ]
  [ "$(way web 2001:db8::1 from fd17::2)" = 'eth0 via fd17::1' ]
  again --no-probe br1 netns:web --policy-route 10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1
  run_pw --dry-run disconnect netns:web
  assert_exit 0
  on_host sh -c "$output"
  assert_as_remembered
}

@test "--policy-route: what is left when somebody deletes the link goes with the next attach, and with disconnect" {
  uplinked web
  bridge br1
  remember web
  local words=(--no-probe netns:web --policy-route "10.1.0.2/24@10.1.0.1,fd01::2/64@fd01::1")
  left() {
    pw br1 "${words[@]}"
    in_guest web ip link del dev eth1
    in_guest web ip route replace default via 172.17.0.1 dev eth0
    in_guest web ip route replace ::/0 via fd17::1 dev eth0 metric 1024
    [ "$(rules web 4)" = '10.1.0.2 172.17.0.2' ]
  }
  # another interface, after a failure at every step
  left
  rolls_back web --no-probe br1 -i eth2 netns:web 10.2.0.2/24
  [ -z "$(rules web 4)$(rules web 6)$(tables web 4)$(tables web 6)" ]
  pw disconnect netns:web
  # nothing but a disconnect; what somebody else has there stays
  left
  in_guest web ip rule add from 10.3.3.3 table 1000 priority 10000
  run_pw --dry-run disconnect netns:web
  assert_out 'rule del from 10.1.0.2'
  on_host sh -c "$output"
  [ "$(rules web 4)$(rules web 6)$(tables web 4)$(tables web 6)" = 10.3.3.3 ]
  in_guest web ip rule del from 10.3.3.3
  left
  run_pw disconnect netns:web
  assert_exit 0
  assert_out 'removed from netns:web, left by interfaces that are gone'
  pw -q disconnect netns:web
  assert_as_remembered
}

@test "--policy-route of a container with Docker's own eth0, on a macvlan" {
  need_docker
  start_guest web
  on_host ip link add br0 type bridge
  pw --no-probe br0 web -i eth0 172.17.0.2/16@172.17.0.1
  remember web
  pw --no-probe eth0 web --policy-route 192.168.77.50/24@192.168.77.1
  [ "$(rules web 4)" = '172.17.0.2 192.168.77.50' ]
  ping_from web 192.168.77.1
  again --no-probe eth0 web --policy-route 192.168.77.50/24@192.168.77.1
  pw disconnect web eth1
  assert_as_remembered
}

# --- MTU and offload ----------------------------------------------------------------------------------------

@test "--mtu: both ends of a veth, converges, and is the bridge's again without it" {
  netns_guest web
  netns_guest db
  remember web db
  pw --no-probe br1 netns:db 10.1.0.3/24
  pw --no-probe br1 -l webhost netns:web 10.1.0.2/24 --mtu 1400
  assert_json "$(link web eth1)" '.mtu == 1400'
  assert_json "$(host_link webhost)" '.mtu == 1400'
  again --no-probe br1 -l webhost netns:web 10.1.0.2/24 --mtu 1400
  pw --no-probe br1 -l webhost netns:web 10.1.0.2/24 --mtu 1300
  assert_json "$(link web eth1)" '.mtu == 1300'
  pw --no-probe br1 -l webhost netns:web 10.1.0.2/24
  assert_json "$(link web eth1)" '.mtu == 1500'
  assert_json "$(host_link webhost)" '.mtu == 1500'
  again --no-probe br1 -l webhost netns:web 10.1.0.2/24
  pw disconnect netns:db
  assert_undone netns:web
}

@test "--mtu on a bridge of its own, which takes the MTU of its port" {
  netns_guest web
  pw --no-probe br1 netns:web 10.1.0.2/24 --mtu 1400
  again --no-probe br1 netns:web 10.1.0.2/24 --mtu 1400
  pw --no-probe br1 netns:web 10.1.0.2/24
  assert_json "$(link web eth1)" '.mtu == 1500'
  again --no-probe br1 netns:web 10.1.0.2/24
  # what costs the link its IPv6 addresses
  pw --no-probe br1 netns:web fd01::2/64
  remember web
  run_pw --no-probe br1 netns:web 10.1.0.2/24 --mtu 1000
  assert_refused 1 'IPv6 needs 1280'
}

@test "--mtu of a macvlan and of a NIC that is moved in" {
  netns_guest web
  on_host ip link add eth1 mtu 1450 type veth peer name lan1 netns "$LAN_NS"
  on_host ip link set dev eth1 up
  remember web
  pw --no-probe eth1 netns:web 10.1.0.2/24 --mtu 1400
  assert_json "$(link web eth1)" '.mtu == 1400'
  again --no-probe eth1 netns:web 10.1.0.2/24 --mtu 1400
  pw --no-probe eth1 netns:web 10.1.0.2/24 --mtu 1300
  assert_json "$(link web eth1)" '.mtu == 1300'
  pw --no-probe eth1 netns:web 10.1.0.2/24
  assert_json "$(link web eth1)" '.mtu == 1450'
  again --no-probe eth1 netns:web 10.1.0.2/24
  assert_undone netns:web
  pw --no-probe --direct-phys eth1 netns:web 10.1.0.2/24 --mtu 1400
  assert_json "$(link web eth1)" '.mtu == 1400'
  again --no-probe --direct-phys eth1 netns:web 10.1.0.2/24 --mtu 1400
  pw --no-probe --direct-phys eth1 netns:web 10.1.0.2/24
  assert_json "$(link web eth1)" '.mtu == 1450'
  pw --no-probe --direct-phys eth1 netns:web 10.1.0.2/24 --mtu 1400
  assert_undone netns:web
}

@test "--tx-offload off, on, and back by itself; without ethtool refused" {
  need ethtool ethtool
  netns_guest web
  remember web
  offload() { in_guest web nsenter --net=/run/netns/web ethtool -k eth1 | sed -n 's/^tx-checksumming: //p'; }
  pw --no-probe br1 netns:web 10.1.0.2/24 --tx-offload off
  [ "$(offload)" = off ]
  again --no-probe br1 netns:web 10.1.0.2/24 --tx-offload off
  PIPEWORK_FAIL_AFTER=1 run_pw disconnect netns:web
  assert_exit 1
  [ "$(offload)" = off ]
  pw --no-probe br1 netns:web 10.1.0.2/24
  [ "$(offload)" = on ]
  again --no-probe br1 netns:web 10.1.0.2/24
  pw --no-probe br1 netns:web 10.1.0.2/24 --tx-offload off
  pw --no-probe br1 netns:web 10.1.0.2/24 --tx-offload on
  [ "$(offload)" = on ]
  assert_undone netns:web
  mkdir "$BATS_TEST_TMPDIR/bin"
  local program
  for program in node ip nsenter sysctl env; do ln -s "$(command -v "$program")" "$BATS_TEST_TMPDIR/bin/"; done
  run --separate-stderr on_host env PATH="$BATS_TEST_TMPDIR/bin" \
    "$PIPEWORK" --no-probe br1 netns:web 10.1.0.2/24 --tx-offload off
  assert_refused 1 "'ethtool' is not installed" 'apt install ethtool'
}

# --- failures -------------------------------------------------------------------------------------------------

@test "all options together: undone after every step, there, in a change, and back" {
  uplinked web
  bridge br1
  local words=(--no-probe br1 netns:web --policy-route --mtu 1400)
  rolls_back web "${words[@]}" --route 10.50.0.0/16 --route fd50::/48,fd99::9 10.1.0.2/24@10.9.9.9,fd01::2/64@fd01::1
  rolls_back web --no-probe br1 netns:web --metric 50 --route fd50::/48 10.1.0.3/24@10.1.0.1,fd01::3/64@fd01::1
  pw "${words[@]}" --route 10.50.0.0/16 --route fd50::/48,fd99::9 10.1.0.2/24@10.9.9.9,fd01::2/64@fd01::1
  rolls_back web disconnect netns:web
}

@test "--tx-offload: undone after every step" {
  need ethtool ethtool
  netns_guest web
  pw --no-probe br1 netns:web 10.1.0.2/24
  rolls_back web --no-probe br1 netns:web 10.1.0.3/24 --tx-offload off
}

@test "kill -9 after every step of a first run with all options: the next one heals" {
  uplinked web
  bridge br1
  heals web true --no-probe br1 netns:web --policy-route --mtu 1400 --route 10.50.0.0/16 --route fd50::/48,fd99::9 \
    10.1.0.2/24@10.9.9.9,fd01::2/64@fd01::1
}

@test "kill -9 after every step of a change that takes the options back: the next one heals" {
  earlier() {
    pw --no-probe br1 netns:web --policy-route --mtu 1400 --tx-offload off --route 10.50.0.0/16 --route fd50::/48,fd99::9 \
      10.1.0.2/24@10.9.9.9,fd01::2/64@fd01::1
  }
  need ethtool ethtool
  uplinked web
  bridge br1
  heals web earlier --no-probe br1 netns:web --metric 30 10.1.0.3/24@10.1.0.1,fd01::2/64@fd01::7
}

@test "--force to a macvlan and back takes the rules along" {
  uplinked web
  remember web
  pw --no-probe br1 netns:web --policy-route 10.1.0.2/24@10.1.0.1
  pw --no-probe --force eth0 -i eth1 netns:web --policy-route 10.1.0.2/24@10.1.0.1
  again --no-probe eth0 -i eth1 netns:web --policy-route 10.1.0.2/24@10.1.0.1
  pw --no-probe --force eth0 -i eth1 netns:web 10.1.0.2/24@10.1.0.1
  [ -z "$(rules web 4)" ]
  pw --no-probe --force br1 netns:web --policy-route 10.1.0.2/24@10.1.0.1
  [ "$(rules web 4)" = '10.1.0.2 172.17.0.2' ]
  pw disconnect netns:web
  [ -z "$(rules web 4)$(tables web 4)" ]
}
