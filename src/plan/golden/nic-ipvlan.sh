#!/bin/sh
# pipework up0 netns:blue 10.0.0.2/24 --kind=ipvlan --mode=l3
# given: ip link add dev up0 address 02:00:00:00:00:0e type veth peer name lan0 && ip link set dev lan0 up && ip link set dev up0 up
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# connect eth1 in blue to up0
ip link add link up0 name eth1 mtu 1500 netns "$netns" type ipvlan mode l3

# record the attachment on eth1
ip -n "$netns" link set dev eth1 alias 'pipework1;g=netns:blue;i=eth1;h=up0;a=10.0.0.2/24;w=--kind=ipvlan;w=--mode=l3'

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# ask whether somebody has 10.0.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.0.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1
