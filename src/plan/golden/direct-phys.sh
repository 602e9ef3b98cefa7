#!/bin/sh
# pipework up0 netns:blue 10.0.0.2/24 --direct-phys
# given: ip link add dev up0 address 02:00:00:00:00:0e type veth peer name lan0 && ip link set dev lan0 up && ip link set dev up0 up
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# write down how up0 is, to bring it back so
mkdir -p /run/pipework/nics && printf '%s\n' '{"name":"up0","guest":"netns:blue","kind":"veth","up":true,"mtu":1500,"mac":"02:00:00:00:00:0e","addresses":[["192.168.1.5/24","brd","192.168.1.255"]],"routes":[{"family":4,"dst":"10.9.0.0/16","words":["via","192.168.1.1","dev","up0"]}]}' > /run/pipework/nics/up0

# record the attachment on up0
ip link set dev up0 alias 'pipework1;g=netns:blue;i=eth1;h=up0;a=10.0.0.2/24;w=--direct-phys;n=up0'

# take up0 down
ip link set dev up0 down

# give up0 a name that nobody has
ip link set dev up0 name pw4c484b193d

# move up0 into blue
ip link set dev pw4c484b193d netns "$netns"

# call it eth1 there
ip -n "$netns" link set dev pw4c484b193d name eth1

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# ask whether somebody has 10.0.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.0.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1
