#!/usr/bin/env bats
# --host-access: the host and a macvlan on one of its NICs reach each other, which a macvlan alone keeps from both.

# shellcheck disable=SC2030,SC2031,SC2154 # status, output and stderr are set by run_pw
load rig
load promise
load outside

WEB=(--no-probe eth0 netns:web "192.168.77.50/24@192.168.77.1,fd77::50/64" --host-access)

setup() { outside_guest; }

teardown() {
  clean_outside
  clean_host
}

pings() { # FROM… ADDRESS
  wait_until 30 "${@:1:$#-1}" ping -c 1 -W 2 -q "${@: -1}" > /dev/null
}

@test "host and guest reach each other in both families, the LAN reaches both, and the last one takes all away" {
  netns_guest db
  remember_outside
  pw --no-probe eth0 netns:web "192.168.77.50/24@192.168.77.1,fd77::50/64"
  run ! on_host ping -c 1 -W 1 192.168.77.50
  run_pw "${WEB[@]}"
  assert_exit 0
  pings on_host 192.168.77.50
  pings on_host fd77::50
  on_host ip neigh flush dev pw-eth0
  pings in_guest web 192.168.77.10
  pings in_guest web fd77::10
  pings on_lan 192.168.77.50
  pings on_lan 192.168.77.10
  # with the host's own address, which it has on eth0 and nowhere else
  assert_json "$(on_host ip -j route get 192.168.77.50)" '.[0].dev == "pw-eth0" and .[0].prefsrc == "192.168.77.10"'
  assert_json "$(on_host ip -j addr show dev pw-eth0)" '[.[0].addr_info[] | select(.scope == "global")] == []'
  run_pw "${WEB[@]}"
  assert_out "nothing changed"
  # a second guest has the same shim
  pw --no-probe eth0 netns:db 192.168.77.51/24 --host-access
  pings on_host 192.168.77.51
  pw disconnect netns:web
  run ! on_host ping -c 1 -W 1 192.168.77.50
  pings on_host 192.168.77.51
  pw disconnect netns:db
  on_lan ip neigh flush dev lan0
  assert_outside_as_remembered
}

@test "without the option again, the guest is out of reach; a guest that has ended leaves nothing that the next sweep does not find" {
  remember_outside
  pw "${WEB[@]}"
  pw --no-probe eth0 netns:web "192.168.77.50/24@192.168.77.1,fd77::50/64"
  run ! on_host ip link show dev pw-eth0
  pw "${WEB[@]}"
  on_host ip route del 192.168.77.50/32 dev pw-eth0
  run_pw ls
  assert_out "missing on this host: the route to 192.168.77.50 over pw-eth0"
  pw "${WEB[@]}"
  pings on_host 192.168.77.50
  on_host ip netns del web
  run_pw disconnect netns:web
  assert_exit 0
  assert_outside_as_remembered
}

@test "a record that a guest has written for itself opens nothing on the host" {
  local forged state
  netns_guest db
  pw "${WEB[@]}"
  pw --no-probe eth0 netns:db 192.168.77.51/24
  state=$(outside_state | settled)
  for forged in h=eth0 h=routed:eth0 h=ptp; do
    forged="pipework1;g=netns:db;i=eth1;$forged;a=192.168.77.51/24@192.168.77.1,192.168.77.1/24,fd77::1/64"
    in_guest db ip link set dev eth1 alias "$forged;w=--host-access;w=--nat;w=--publish=8080:80;w=--bridge-address=10.66.0.1/24"
    # whoever comes next makes the host as all records together ask
    run_pw "${WEB[@]}"
    assert_out "nothing changed"
    netns_guest third
    pw --no-probe eth0 netns:third 192.168.77.52/24 --host-access
    pings on_host 192.168.77.52
    pw disconnect netns:third
    assert_same_state "$state" "$(outside_state | settled)"
    on_host ip netns del third
  done
  pings on_host 192.168.77.50
}

@test "refused before the first change" {
  remember web
  remember_outside
  refused() {
    local message=$1
    shift
    run_pw --no-probe --host-access "$@"
    assert_refused 1 "$message"
  }
  refused "is reached from the host anyway" br1 netns:web 10.0.0.2/24
  refused "talks to no other" --mode private eth0 netns:web 192.168.77.50/24
  refused "an ipvlan on 'eth0' reaches addresses of other ipvlans" --kind ipvlan eth0 netns:web 192.168.77.50/24
  refused "it is to have none" eth0 netns:web 0/0
  on_host ip addr flush dev eth0
  refused_without_state() {
    run_pw --no-probe --host-access eth0 netns:web 192.168.77.50/24
    assert_exit 1
    assert_err "the host has no IPv4 address on 'eth0'"
  }
  refused_without_state
  run ! on_host ip link show dev pw-eth0
}

@test "undone after every step, there and back; mended after kill -9 at every step" {
  undone_and_back 0 "${WEB[@]}"
  mended_and_gone 1 "${WEB[@]}"
}
