#!/usr/bin/env bats
# The examples of the shell original's manual, as data: each command line does here what that manual says. Its examples
# with DHCP wait for DHCP; those that need a kernel with dummy interfaces and VLANs are in uml.bats, InfiniBand's in
# ipoib.bats, Open vSwitch's in ovs.bats, --wait and tc in words.bats.

load rig

setup() {
  need_docker
  start_guest web
  # the NICs of the manual, each with a LAN of its own
  local nic
  for nic in eth1 eth2 eth3; do
    on_host ip link add "$nic" type veth peer name "l$nic" netns "$LAN_NS"
    on_host ip link set dev "$nic" up
    on_lan ip link set dev "l$nic" up
  done
  on_host ip link set dev eth1 address 00:f3:15:4a:42:c8
}

teardown() {
  clean_host
}

# The manual's words % what is then true of all links of the container (`ip -j -d addr`) % of its routes (`ip -j route`)
examples() {
  cat << 'EOF'
br1 web 192.168.1.1/24 % any(.ifname == "eth1" and .linkinfo.info_kind == "veth" and .addr_info[0].local == "192.168.1.1") % any(.dst == "192.168.1.0/24")
br1 web 192.168.12.23/24 % any(.[].addr_info[]?; .local == "192.168.12.23" and .prefixlen == 24 and .broadcast == "192.168.12.255") % length == 1
br1 -i eth2 web 192.168.1.1/24 % any(.ifname == "eth2") and all(.ifname != "eth1") % length == 1
br1 -i eth2 -l hostapp1 web 192.168.1.1/24 % any(.ifname == "eth2") % length == 1
br1 web 192.168.4.25/20 % any(.[].addr_info[]?; .prefixlen == 20 and .broadcast == "192.168.15.255") % any(.dst == "192.168.0.0/20")
br1 web 192.168.4.25/20@192.168.4.1 % any(.ifname == "eth1") % any(.dst == "default" and .gateway == "192.168.4.1" and .dev == "eth1")
br1 -a inet6 web fd00::10/64 % any(.[].addr_info[]?; .local == "fd00::10") % length == 0
eth2 web 50.19.169.157/24 % any(.linkinfo.info_kind == "macvlan" and .linkinfo.info_data.mode == "bridge" and .addr_info[0].local == "50.19.169.157") % length == 1
eth3 web 107.22.140.5/24 % any(.linkinfo.info_kind == "macvlan" and .addr_info[0].local == "107.22.140.5") % length == 1
--direct-phys eth1 web 192.168.1.2/24 % any(.ifname == "eth1" and .linkinfo.info_kind == "veth" and .address == "00:f3:15:4a:42:c8") % length == 1
--direct-phys eth1 -i container0 web 0/0 % any(.ifname == "container0" and (.flags | index("UP")) != null and ([.addr_info[] | select(.family == "inet")] == [])) % length == 0
--direct-phys mac:00:f3:15:4a:42:c8 -i container0 web 0/0 % any(.ifname == "container0" and .address == "00:f3:15:4a:42:c8") % length == 0
eth0 web 10.1.1.234/24@10.1.1.254 % any(.linkinfo.info_kind == "macvlan") % any(.dst == "default" and .gateway == "10.1.1.254")
br1 web 0/0 % any(.ifname == "eth1" and (.flags | index("UP")) != null) % length == 0
eth0 web 192.168.1.2/24 26:2e:71:98:60:8f % any(.ifname == "eth1" and .address == "26:2e:71:98:60:8f") % length == 1
eth0 web 192.168.1.2/24 U:myhost.foo.com % any(.ifname == "eth1" and .address == "02:72:6c:cd:9b:8d") % length == 1
EOF
}

@test "every attachment of the manual, then nothing left of it" {
  local line words links routes host guest
  host=$(host_state) guest=$(guest_state web)
  while IFS='%' read -r words links routes; do
    line="pipework $words"
    echo "$line"
    # shellcheck disable=SC2086 # words, as at a prompt
    pw --no-probe $words
    assert_json "$(in_guest web ip -j -d addr)" "$links" "$line"
    assert_json "$(in_guest web ip -j route)" "$routes" "$line"
    pw disconnect web
    assert_same_state "$guest" "$(guest_state web)"
    assert_same_state "$host" "$(host_state)"
  done < <(examples)
}

@test "the LAMP stack: two containers on a private network" {
  start_guest db
  pw br1 web 192.168.1.1/24
  pw br1 db 192.168.1.2/24
  in_guest web ping -c 1 -W 5 192.168.1.2
  # "Want to connect to those containers using their private addresses? Easy:"
  on_host ip addr add 192.168.1.254/24 dev br1
  on_host ping -c 1 -W 5 192.168.1.1
}

@test "routes and rules, word for word" {
  pw br1 web 192.168.2.2/24
  pw route web add 10.0.5.0/24 via 192.168.2.1
  pw route web replace default via 192.168.2.9
  pw rule web add from 172.19.0.2/32 table 1
  pw rule web add to 172.19.0.2/32 table 1
  assert_json "$(in_guest web ip -j route)" 'any(.dst == "10.0.5.0/24" and .gateway == "192.168.2.1") and any(.dst == "default" and .gateway == "192.168.2.9")'
  assert_json "$(in_guest web ip -j rule)" 'any(.src == "172.19.0.2" and .table == "1") and any(.dst == "172.19.0.2" and .table == "1")'
}

@test "a missing prefix length is refused, with what was probably meant" {
  run_pw br1 web 192.168.1.1
  assert_exit 2
  assert_err "192.168.1.1/24?"
}
