#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24
# given: sh src/plan/golden/ovs-fresh.sh
# given: ip link add dev br1 address 02:00:00:00:00:b0 type bridge stp_state 0 && ip link set dev br1 up
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# take the port veth1plblue off ovs1
ovs-vsctl --timeout=5 -- --if-exists del-port veth1plblue

# detach eth1 from blue
ip link del dev veth1plblue

# connect eth1 in blue to br1
ip link add dev veth1plblue mtu 1500 master br1 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24'

# bring veth1plblue up
ip link set dev veth1plblue up

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# ask whether somebody has 10.0.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.0.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
