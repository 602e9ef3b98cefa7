#!/bin/sh
# pipework br1 -i eth2 -l bluehost netns:blue 10.0.0.2/24
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

# connect eth2 in blue to br1
ip link add dev bluehost mtu 1500 master br1 type veth peer name eth2 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on bluehost
ip link set dev bluehost alias 'pipework1;g=netns:blue;i=eth2;h=br1;a=10.0.0.2/24'

# bring bluehost up
ip link set dev bluehost up

# let the kernel announce the addresses of eth2
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth2/arp_notify=1

# bring eth2 up
ip -n "$netns" link set dev eth2 up

# give eth2 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth2

# announce eth2 to its neighbours
ip -n "$netns" link set dev eth2 address 02:00:00:00:00:01
