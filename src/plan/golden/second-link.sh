#!/bin/sh
# pipework br1 -i eth2 -l bluehost netns:blue 10.1.0.2/24@10.1.0.1
# given: ip link add dev peer0 type veth peer name eth0 address 02:00:00:00:00:e0 netns blue && ip link set dev peer0 up && ip -n blue link set dev eth0 up && ip -n blue addr add 172.17.0.2/16 dev eth0 && ip -n blue route add default via 172.17.0.1
# given: sh src/plan/golden/default-replaced.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# connect eth2 in blue to br1
ip link add dev bluehost mtu 1500 master br1 type veth peer name eth2 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on bluehost
ip link set dev bluehost alias 'pipework1;g=netns:blue;i=eth2;h=br1;a=10.1.0.2/24@10.1.0.1;d4=via+10.0.0.1+dev+eth1+proto+boot'

# bring bluehost up
ip link set dev bluehost up

# let the kernel announce the addresses of eth2
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth2/arp_notify=1

# bring eth2 up
ip -n "$netns" link set dev eth2 up

# ask whether somebody has 10.1.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth2 10.1.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give eth2 the address 10.1.0.2/24
ip -n "$netns" addr add 10.1.0.2/24 brd + dev eth2

# make 10.1.0.1 the default gateway for IPv4
ip -n "$netns" route replace default via 10.1.0.1 dev eth2

# announce eth2 to its neighbours
ip -n "$netns" link set dev eth2 address 02:00:00:00:00:01
