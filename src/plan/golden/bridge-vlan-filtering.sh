#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24 @10
# given: ip link add dev br1 address 02:00:00:00:00:b0 type bridge stp_state 0 && ip link set dev br1 up
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# turn on VLAN filtering on br1: its other ports are in VLAN 1, and tagged frames no longer pass
ip link set dev br1 type bridge vlan_filtering 1

# connect eth1 in blue to br1
ip link add dev veth1plblue mtu 1500 master br1 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# put veth1plblue into VLAN 10, without a tag
bridge vlan add dev veth1plblue vid 10 pvid untagged

# take veth1plblue out of VLAN 1
bridge vlan del dev veth1plblue vid 1

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24;w=@10'

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
