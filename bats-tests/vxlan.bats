#!/usr/bin/env bats
# Hosts that are connected, and guests of both that talk to each other: on one LAN by their NICs, and without one by a VXLAN.

# shellcheck disable=SC2154 # status, output and stderr are set by run_pw
load rig
load uplinked

setup() {
  need_host
  second_host
}

teardown() {
  # shellcheck disable=SC2016 # the shell over there expands it
  on_far sh -c 'for ns in $(ls /run/netns); do ip netns del "$ns"; done' || true
  on_lan ip link del dev lanbr
  umount "$RIG_DIR/ns/far" "$RIG_DIR/ns/farnet"
  rm -f "$RIG_DIR/ns/far" "$RIG_DIR/ns/farnet"
  clean_uplinks
}

# second_host — another host beside the rig's: eth0 192.168.77.20/24 on the same LAN, which becomes a switch. Its network,
# its /run and its /sys are its own.
second_host() {
  touch "$RIG_DIR"/ns/{far,farnet}
  unshare --net="$RIG_DIR/ns/farnet" true
  keep_mounts "$RIG_DIR/ns/far"
  nsenter --net="$RIG_DIR/ns/farnet" --mount="$RIG_DIR/ns/far" sh -ec '
    mount -t tmpfs -o mode=755 run /run
    mkdir /run/netns
    mount -t sysfs sysfs /sys'
  on_lan ip -batch - << 'END'
link add lanbr address 02:77:00:00:00:01 type bridge
link set dev lanbr up
address flush dev lan0
link set dev lan0 master lanbr
address add 192.168.77.1/24 dev lanbr
address add fd77::1/64 dev lanbr nodad
END
  nsenter --net="$LAN_NS" ip link add lan2 type veth peer name eth0 address 02:77:00:00:00:20 netns "$RIG_DIR/ns/farnet"
  on_lan ip link set dev lan2 master lanbr up
  on_far ip -batch - << 'END'
link set dev lo up
addr add 192.168.77.20/24 dev eth0
addr add fd77::20/64 dev eth0 nodad
link set dev eth0 up
route add default via 192.168.77.1
END
  on_host ip addr add fd77::10/64 dev eth0 nodad
  wait_until 30 on_far ping -c 1 -W 1 -q 192.168.77.10
  wait_until 30 settled
}

# on_far CMD… — runs CMD on the second host.
on_far() {
  nsenter --mount="$RIG_DIR/ns/far" --net="$RIG_DIR/ns/farnet" env -C "$PWD" "$@"
}

# far_pw ARG… — runs pipework there.
far_pw() {
  on_far env -u NODE_EXTRA_CA_CERTS "$PIPEWORK" "$@"
}

# guests — a guest on each host: blue here, green there.
guests() {
  netns_guest blue
  on_far ip netns add green
}

# talk_each_other ADDRESS — blue reaches green at that address, also with packets as large as their links take.
talk_each_other() {
  local mtu header=28
  [[ $1 != *:* ]] || header=48
  mtu=$(in_guest blue cat /sys/class/net/eth1/mtu 2> /dev/null || in_guest blue ip -j link show dev eth1 | jq '.[0].mtu')
  wait_until 30 in_guest blue ping -c 1 -W 1 -q "$1"
  # shellcheck disable=SC1010 # do is ping's
  in_guest blue ping -c 3 -i 0.2 -W 5 -q -M do -s $((mtu - header)) "$1"
}

@test "two hosts on one LAN, each with its NIC in a bridge: their guests talk, as do the hosts" {
  guests
  local before
  before=$(network)
  pw br0@eth0 netns:blue 192.168.77.50/24@192.168.77.1,fd77::50/64
  far_pw br0@eth0 netns:green 192.168.77.60/24@192.168.77.1,fd77::60/64
  talk_each_other 192.168.77.60
  talk_each_other fd77::60
  on_host ping -c 1 -W 5 -q 192.168.77.60
  on_far ping -c 1 -W 5 -q 192.168.77.50
  in_guest blue ping -c 1 -W 5 -q 192.168.77.1
  on_far ip netns exec green ping -c 1 -W 5 -q 192.168.77.10
  pw disconnect netns:blue
  pw uplink del br0
  assert_network "$before"
  far_pw uplink del br0
  on_far ping -c 1 -W 5 -q 192.168.77.10
}

@test "a VXLAN between two hosts: full-size packets pass, and the last guest takes it along" {
  guests
  local before
  before=$(host_state)
  run_pw br7@vxlan:42,192.168.77.20 netns:blue 10.7.0.2/24,fd07::2/64
  assert_exit 0
  assert_json "$(on_host ip -d -j link show dev vx42)" '.[0] | .mtu == 1450 and .master == "br7" and (.linkinfo.info_data | .id == 42 and .port == 4789 and .remote == "192.168.77.20")'
  assert_json "$(on_host ip -j link show dev br7)" '.[0].mtu == 1450'
  assert_json "$(in_guest blue ip -j link show dev eth1)" '.[0].mtu == 1450'
  far_pw br7@vxlan:42,192.168.77.10 netns:green 10.7.0.3/24,fd07::3/64
  talk_each_other 10.7.0.3
  talk_each_other fd07::3
  run_pw br7@vxlan:42,192.168.77.20 netns:blue 10.7.0.2/24,fd07::2/64
  assert_out "nothing changed"
  assert_json "$(pw uplink ls --json)" '.uplinks == [{ bridge: "br7", uplink: "vxlan:42,192.168.77.20", state: "kept" }]'
  run_pw ls
  assert_out "br7@vxlan:42,192.168.77.20"
  # another guest: the VXLAN goes with the last
  netns_guest red
  pw br7 netns:red 10.7.0.4/24
  pw disconnect netns:blue
  on_host ip link show dev vx42
  run_pw --dry-run disconnect netns:red
  assert_out "ip link del dev vx42"
  local connected
  connected=$(host_state)
  PIPEWORK_FAIL_AFTER=$(($(pw --dry-run --json --no-probe --force br8 netns:red 10.7.0.4/24 | jq '.steps | length') - 1)) \
    run_pw --no-probe --force br8 netns:red 10.7.0.4/24
  assert_exit 1
  assert_same_state "$connected" "$(host_state)"
  # it goes with the last as well where that moves away
  pw --no-probe --force br8 netns:red 10.7.0.4/24
  on_host sh -c '! test -e /sys/class/net/vx42 && ! test -e /sys/class/net/br7'
  pw disconnect netns:red
  on_host ip netns del red
  assert_same_state "$before" "$(host_state)"
}

@test "a VXLAN over IPv6, and one by multicast: 70 and 50 bytes less" {
  guests
  pw br7@vxlan:43,fd77::20 netns:blue 10.7.0.2/24
  far_pw br7@vxlan:43,fd77::10 netns:green 10.7.0.3/24
  assert_json "$(on_host ip -j link show dev br7)" '.[0].mtu == 1430'
  talk_each_other 10.7.0.3
  pw disconnect netns:blue
  far_pw disconnect netns:green
  pw br7@vxlan:44,239.7.7.7,eth0 netns:blue 10.7.0.2/24
  far_pw br7@vxlan:44,239.7.7.7,eth0 netns:green 10.7.0.3/24
  assert_json "$(on_host ip -j link show dev br7)" '.[0].mtu == 1450'
  talk_each_other 10.7.0.3
}

@test "a VXLAN is undone after a failure at every step, mended after a kill, and taken away by uplink del" {
  netns_guest blue
  local before inside steps n
  before=$(host_state) inside=$(guest_state blue)
  # shellcheck disable=SC2054 # the comma is of the grammar
  local words=(--no-probe br7@vxlan:42,192.168.77.20 netns:blue 10.7.0.2/24)
  steps=$(pw --dry-run --json "${words[@]}" | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "${words[@]}"
    assert_exit 1
    assert_same_state "$before" "$(host_state)" || fail "after step $n" || return
    assert_same_state "$inside" "$(guest_state blue)"
  done
  for n in $(steps_of 1 "$steps" 2); do
    PIPEWORK_KILL_AFTER=$n run -137 pw "${words[@]}"
    pw "${words[@]}"
    pw disconnect netns:blue
    assert_same_state "$before" "$(host_state)" || fail "killed after step $n" || return
  done
  pw uplink add br7 vxlan:42,192.168.77.20
  run_pw uplink add br7 vxlan:42,192.168.77.20
  assert_out "nothing changed"
  run_pw uplink add br7 vxlan:43,192.168.77.20
  assert_exit 1
  assert_err "has the uplink 'vxlan:42,192.168.77.20'"
  run_pw uplink add br8 vxlan:42,192.168.77.21
  assert_exit 1
  assert_err "has the number 42 already"
  run_pw uplink del br7
  assert_exit 0
  assert_same_state "$before" "$(host_state)"
  run_pw br7@vxlan:42,192.168.77.10 netns:blue 10.7.0.2/24
  assert_exit 1
  assert_err "is this host itself"
  run_pw br7@vxlan:42,192.168.77.20,eth7 netns:blue 10.7.0.2/24
  assert_exit 1
  assert_err "there is no NIC 'eth7'"
  on_host ip route del default
  run_pw br7@vxlan:42,203.0.113.9 netns:blue 10.7.0.2/24
  assert_exit 1
  assert_err "there is no way to '203.0.113.9'"
  on_host ip route add default via 192.168.77.1
}
