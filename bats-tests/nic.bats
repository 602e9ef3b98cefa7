#!/usr/bin/env bats
# NICs: a macvlan on one, and one moved into a guest as it is. The rig's eth0 is a veth that stands in for a NIC, and
# its other end is the LAN; what only a real NIC does (it comes home when its container dies) is in uml.bats.

load rig

setup() {
  need_docker
}

teardown() {
  on_host ip rule del priority 777 2> /dev/null || true
  clean_host
}

# A second NIC, eth1, for what must not happen to the one with the default route; it has an address and a route.
add_nic() {
  on_host ip link add eth1 type veth peer name lan1 netns "$LAN_NS"
  on_lan ip addr add 10.1.0.1/24 dev lan1
  on_lan ip link set dev lan1 up
  on_host ip link set dev eth1 up
  on_host ip addr add 10.1.0.77/24 dev eth1
  on_host ip addr add fd00:1::77/64 dev eth1 nodad
  on_host ip route add 10.9.0.0/16 via 10.1.0.1
}

link_of() { # GUEST IFNAME: the link as `ip -j -d` shows it
  in_guest "$1" ip -j -d link show dev "$2" | jq '.[0]'
}

@test "a NIC makes a macvlan in the guest, with its MTU, that the LAN reaches" {
  start_guest web
  on_host ip link set dev eth0 mtu 1400
  run_pw eth0 web 192.168.77.50/24@192.168.77.1
  assert_exit 0
  assert_json "$(link_of web eth1)" '.linkinfo.info_kind == "macvlan" and .linkinfo.info_data.mode == "bridge" and .mtu == 1400'
  in_guest web ping -c 1 -W 5 192.168.77.1
  on_lan ping -c 1 -W 5 192.168.77.50
  assert_json "$(in_guest web ip -j route show default)" '.[0].gateway == "192.168.77.1"'
  run_pw ls --json
  assert_json "$output" '.attachments == [.attachments[0]] and .attachments[0].hostif == "eth0" and .attachments[0].hostEnd == null'
}

@test "two macvlans on one NIC reach each other" {
  start_guest web
  start_guest db
  pw eth0 web 192.168.77.50/24
  pw eth0 db 192.168.77.51/24
  in_guest web ping -c 1 -W 5 192.168.77.51
}

@test "the same words again change nothing, and disconnect leaves nothing" {
  start_guest web
  local host guest
  host=$(host_state) guest=$(guest_state web)
  pw eth0 web 192.168.77.50/24@192.168.77.1
  local attached
  attached=$(guest_state web)
  run_pw --json eth0 web 192.168.77.50/24@192.168.77.1
  assert_json "$output" '.changed == false'
  assert_same_state "$attached" "$(guest_state web)"
  pw disconnect web
  assert_same_state "$guest" "$(guest_state web)"
  assert_same_state "$host" "$(host_state)"
}

@test "mode and address converge in place" {
  start_guest web
  pw eth0 web 192.168.77.50/24
  local index
  index=$(link_of web eth1 | jq .ifindex)
  run_pw --mode private eth0 web 192.168.77.51/24 26:2e:71:98:60:8f
  assert_exit 0
  assert_json "$(link_of web eth1)" ".ifindex == $index and .linkinfo.info_data.mode == \"private\" and .address == \"26:2e:71:98:60:8f\""
}

@test "from NIC to bridge and back only with --force" {
  start_guest web
  pw eth0 web 192.168.77.50/24
  run_pw br1 web 192.168.77.50/24
  assert_exit 1
  assert_err "--force"
  pw --force br1 web 192.168.77.50/24
  assert_json "$(link_of web eth1)" '.linkinfo.info_kind == "veth"'
  pw --force eth0 web 192.168.77.50/24
  assert_json "$(link_of web eth1)" '.linkinfo.info_kind == "macvlan"'
}

@test "mac: names the NIC, in any case of letters" {
  start_guest web
  local mac
  mac=$(on_host ip -j link show dev eth0 | jq -r '.[0].address | ascii_upcase')
  run_pw "mac:$mac" web 192.168.77.50/24
  assert_exit 0
  assert_out "on eth0"
  run_pw mac:02:00:00:00:00:99 -i eth2 web 192.168.77.52/24
  assert_exit 1
  assert_err "02:00:00:00:00:99"
}

@test "what cannot carry a macvlan is refused with the way that works" {
  start_guest web
  local before
  before=$(host_state)
  on_host ip link add br7 type bridge
  on_host ip link set dev eth0 master br7
  run_pw eth0 web 192.168.77.50/24
  assert_exit 1
  assert_err "br7"
  on_host ip link set dev eth0 nomaster
  on_host ip link del br7
  run_pw lo web 192.168.77.50/24
  assert_exit 1
  assert_err "loopback"
  run_pw eth0:3 web 192.168.77.50/24
  assert_exit 2
  assert_err "Give the interface: eth0"
  run_pw eth0 -l outside web 192.168.77.50/24
  assert_exit 1
  run_pw --kind ipvlan eth0 web 192.168.77.50/24 26:2e:71:98:60:8f
  assert_exit 1
  run_pw --mode l9 eth0 web 192.168.77.50/24
  assert_exit 2
  # the host would get no frame of its own NIC any more
  run_pw --mode passthru eth0 web 192.168.77.50/24
  assert_exit 1
  assert_err 'this host has 192.168.77.10 on it'
  assert_same_state "$before" "$(host_state)"
}

@test "a macvlan rolls back after every step, and heals after a kill at every step" {
  netns_guest blue
  local before steps n
  before=$(guest_state blue)
  steps=$(pw --dry-run --json --no-probe eth0 netns:blue 192.168.77.50/24@192.168.77.1 | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw --no-probe eth0 netns:blue 192.168.77.50/24@192.168.77.1
    assert_exit 1
    assert_same_state "$before" "$(guest_state blue)"
  done
  pw --no-probe eth0 netns:blue 192.168.77.50/24@192.168.77.1
  local attached
  attached=$(guest_state blue)
  for n in $(steps_of 0 "$steps" 2); do
    pw disconnect netns:blue
    PIPEWORK_KILL_AFTER=$n run_pw --no-probe eth0 netns:blue 192.168.77.50/24@192.168.77.1
    pw --no-probe eth0 netns:blue 192.168.77.50/24@192.168.77.1
    assert_same_state "$attached" "$(guest_state blue)"
  done
}

@test "--direct-phys moves the NIC in, and disconnect brings it back with addresses and routes" {
  add_nic
  start_guest web
  local host guest
  host=$(host_state) guest=$(guest_state web)
  run_pw --direct-phys eth1 -i container0 web 10.1.0.2/24@10.1.0.1
  assert_exit 0
  run on_host ip link show dev eth1
  [ "$status" -ne 0 ]
  in_guest web ping -c 1 -W 5 10.1.0.1
  run_pw --direct-phys eth1 -i container0 web 10.1.0.2/24@10.1.0.1
  assert_exit 0
  assert_out "nothing changed"
  pw disconnect web
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$guest" "$(guest_state web)"
}

@test "--direct-phys keeps the NIC's MAC address unless another is given" {
  add_nic
  start_guest web
  local mac
  mac=$(on_host ip -j link show dev eth1 | jq -r '.[0].address')
  pw --direct-phys "mac:$mac" web 10.1.0.2/24
  assert_json "$(link_of web eth1)" ".address == \"$mac\""
  # by its address it is found in the guest as well
  run_pw --direct-phys "mac:$mac" web 10.1.0.2/24
  assert_out "nothing changed"
  run_pw --direct-phys eth1 web 10.1.0.2/24 26:2e:71:98:60:8f
  assert_json "$(link_of web eth1)" '.address == "26:2e:71:98:60:8f"'
  pw disconnect web
  assert_json "$(on_host ip -j link show dev eth1)" ".[0].address == \"$mac\""
}

@test "the NIC with the default route stays, unless forced" {
  start_guest web
  local before
  before=$(host_state)
  run_pw --direct-phys eth0 web 192.168.77.50/24
  assert_exit 1
  assert_err "default route"
  assert_same_state "$before" "$(host_state)"
}

@test "--direct-phys rolls back after every step, there and back, and heals after a kill at every step" {
  add_nic
  netns_guest blue
  local host guest attached steps n
  local words=(--no-probe --direct-phys eth1 -i c0 netns:blue 10.1.0.9/24@10.1.0.1)
  host=$(host_state) guest=$(guest_state blue)
  steps=$(pw --dry-run --json "${words[@]}" | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "${words[@]}"
    assert_exit 1
    assert_same_state "$host" "$(host_state)"
    assert_same_state "$guest" "$(guest_state blue)"
  done
  pw "${words[@]}"
  attached=$(guest_state blue)
  steps=$(pw --dry-run --json disconnect netns:blue | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw disconnect netns:blue
    assert_exit 1
    assert_same_state "$attached" "$(guest_state blue)"
  done
  pw disconnect netns:blue
  assert_same_state "$host" "$(host_state)"
  for n in $(steps_of 0 8 2); do
    PIPEWORK_KILL_AFTER=$n run_pw "${words[@]}"
    pw "${words[@]}"
    assert_same_state "$attached" "$(guest_state blue)"
    pw disconnect netns:blue
    assert_same_state "$host" "$(host_state)"
  done
}

@test "a guest cannot pass off a link of its own as the host's NIC" {
  add_nic
  start_guest web
  pw --direct-phys eth1 web 10.1.0.2/24
  local alias before
  alias=$(link_of web eth1 | jq -r .ifalias)
  # root in the container hides the NIC's record and writes it on a tunnel of its own
  in_guest web ip link set dev eth1 alias hidden
  in_guest web ip tuntap add dev tap0 mode tap
  in_guest web ip link set dev tap0 alias "${alias/i=eth1/i=tap0}"
  before=$(host_state)
  run_pw disconnect web tap0
  assert_exit 1
  assert_same_state "$before" "$(host_state)"
}

# furnish_nic — gives eth1 one of each: peer address, metric, noprefixroute, label, tables, rules, neighbours, sysctls.
furnish_nic() {
  on_host ip -batch - << 'END'
addr add 10.2.0.1 peer 10.2.0.2/32 dev eth1
addr add 10.3.0.1/24 metric 500 noprefixroute dev eth1
addr add 10.4.0.1/24 brd + label eth1:web dev eth1
addr add fd00:2::1/64 noprefixroute nodad dev eth1
route add 10.8.0.0/16 via 10.1.0.1 dev eth1 table 77
route add 10.7.0.0/16 dev eth1 proto static scope link mtu 1400 metric 9
route add fd00:9::/64 via fd00:1::1 dev eth1 table 77
neigh add 10.1.0.99 lladdr 02:00:00:00:00:99 nud permanent dev eth1
neigh add proxy 10.1.0.98 dev eth1
link property add dev eth1 altname storage0
END
  on_host ip rule add iif eth1 table 77 priority 777
  on_host sysctl -qw net/ipv4/conf/eth1/rp_filter=2 net/ipv4/conf/eth1/arp_ignore=1 net/ipv6/conf/eth1/accept_ra=0
}

# nic_config — prints all that eth1 has.
nic_config() {
  # shellcheck disable=SC2016 # another shell expands it, or none
  on_host sh -c 'ip -d -j address show dev eth1; ip -j neigh show dev eth1 nud permanent; ip -j neigh show proxy dev eth1
    for family in 4 6; do ip -$family -j route show table all dev eth1; ip -$family -j rule show iif eth1; done' |
    jq -S -s '.[0][0] |= {ifname, address, mtu, altnames, ifalias, flags: (.flags | sort), inet6_addr_gen_mode,
        addr_info: (.addr_info | map(del(.tentative, .valid_life_time, .preferred_life_time)) | sort_by(.local))}
      | .[3:] |= map(sort_by(tojson) | map(del(.expires)))'
  on_host sh -c 'cd /proc/sys/net && grep . ipv4/conf/eth1/rp_filter ipv4/conf/eth1/arp_ignore ipv6/conf/eth1/accept_ra ipv6/conf/eth1/addr_gen_mode'
}

@test "--direct-phys: disconnect restores peer, metric, labels, all tables, rules, neighbours, sysctls and altnames" {
  add_nic
  furnish_nic
  netns_guest blue
  wait_until 30 settled
  local before steps n
  before=$(nic_config)
  pw --no-probe --direct-phys eth1 -i c0 netns:blue 10.1.0.2/24
  pw disconnect netns:blue
  assert_same_state "$before" "$(nic_config)"
  for n in 3 5; do
    PIPEWORK_FAIL_AFTER=$n run_pw --no-probe --direct-phys eth1 -i c0 netns:blue 10.1.0.2/24
    assert_exit 1
    assert_same_state "$before" "$(nic_config)" || fail "after step $n" || return
  done
  # what could not be restored is refused before the first change
  on_host ip route add 10.6.0.0/16 encap ip id 3 dst 10.0.0.1 dev eth1
  run_pw --no-probe --direct-phys eth1 -i c0 netns:blue 10.1.0.2/24
  assert_exit 1
  assert_err "has something that could not be restored"
  assert_err "has 'encap'"
  on_host ip route del 10.6.0.0/16
  assert_same_state "$before" "$(nic_config)"
}

# settled — no address of the host is still being checked for duplicates.
settled() {
  [[ -z $(on_host ip address show tentative) ]]
}

@test "which NIC it is, is known from the device: an alias that a guest writes decides nothing" {
  add_nic
  on_host ip link add eth2 type veth peer name lan2 netns "$LAN_NS"
  on_host ip addr add 10.5.0.77/24 dev eth2
  on_host ip link set dev eth2 up
  netns_guest a
  netns_guest b
  local before alias mac
  before=$(host_state)
  mac=$(on_host cat /sys/class/net/eth1/address)
  pw --no-probe --direct-phys eth1 netns:a 10.1.0.2/24
  pw --no-probe --direct-phys eth2 netns:b 10.5.0.2/24
  # a writes b's alias on its own link
  alias=$(link_of b eth1 | jq -r .ifalias)
  in_guest a ip link set dev eth1 alias "$alias"
  pw disconnect netns:a
  assert_json "$(on_host ip -j address show dev eth1)" ".[0].address == \"$mac\" and any(.[0].addr_info[]; .local == \"10.1.0.77\")"
  run on_host ip link show dev eth2
  [ "$status" -ne 0 ]
  pw disconnect netns:b
  assert_same_state "$before" "$(host_state)"
  # and without any alias
  pw --no-probe --direct-phys eth1 netns:a 10.1.0.2/24
  in_guest a ip link set dev eth1 alias ''
  pw disconnect netns:a
  assert_same_state "$before" "$(host_state)"
}

@test "--direct-phys: the state file of the version before is read, and a damaged one is an error that names it" {
  add_nic
  netns_guest blue
  local before
  before=$(host_state)
  pw --no-probe --direct-phys eth1 netns:blue 10.1.0.2/24
  on_host sh -c 'cp /run/pipework/nics/eth1 /run/saved && echo "{" > /run/pipework/nics/eth1'
  run_pw disconnect netns:blue
  assert_exit 1
  assert_err "the state file '/run/pipework/nics/eth1' is damaged"
  local mac
  mac=$(on_host jq -r .mac /run/saved)
  on_host sh -c "printf '%s\n' '{\"name\":\"eth1\",\"guest\":\"netns:blue\",\"kind\":\"veth\",\"up\":true,\"mtu\":1500,\"mac\":\"$mac\",\"addresses\":[[\"10.1.0.77/24\"],[\"fd00:1::77/64\",\"nodad\"]],\"routes\":[{\"family\":4,\"dst\":\"10.9.0.0/16\",\"words\":[\"via\",\"10.1.0.1\",\"dev\",\"eth1\"]}]}' > /run/pipework/nics/eth1"
  pw disconnect netns:blue
  assert_same_state "$before" "$(host_state)"
}
