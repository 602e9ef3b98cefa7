#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24 --tx-offload=off
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# create the bridge br1
ip link add dev br1 address 02:00:00:00:00:b1 type bridge stp_state 0

# record that pipework made br1
ip link set dev br1 alias 'pipework1;made'

# bring br1 up
ip link set dev br1 up

# connect eth1 in blue to br1
ip link add dev veth1plblue mtu 1500 master br1 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24;w=--tx-offload=off'

# bring veth1plblue up
ip link set dev veth1plblue up

# turn off the TX checksum offload of eth1
ip netns exec "$netns" ethtool -K eth1 tx off

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
