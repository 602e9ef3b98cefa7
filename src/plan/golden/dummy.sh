#!/bin/sh
# pipework dummy netns:blue 10.0.0.2/24
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# create eth1 in blue
ip link add name eth1 address 02:00:00:00:00:01 netns "$netns" type dummy

# record the attachment on eth1
ip -n "$netns" link set dev eth1 alias 'pipework1;g=netns:blue;i=eth1;h=dummy;a=10.0.0.2/24'

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
