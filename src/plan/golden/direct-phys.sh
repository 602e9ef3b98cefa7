#!/bin/sh
# pipework up0 netns:blue 10.0.0.2/24 --direct-phys
# given: ip link add dev up0 address 02:00:00:00:00:0e type veth peer name lan0 && ip link set dev lan0 up && ip link set dev up0 up
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# save what up0 has
mkdir -p /run/pipework/nics && printf '%s\n' '{"version":2,"name":"up0","guest":"netns:blue","netns":4026532001,"device":{"kind":"veth","ifindex":7,"peerIndex":2},"up":true,"mtu":1500,"mac":"02:00:00:00:00:0e","altnames":[],"sysctls":[],"takenAt":100,"items":[{"kind":"address","family":4,"description":"the address 192.168.1.5/24","add":[["addr","add","192.168.1.5/24","broadcast","192.168.1.255","dev","@"]],"del":["addr","del","192.168.1.5/24","dev","@"]},{"kind":"route","family":4,"description":"the route to 10.9.0.0/16","routeKey":"4 10.9.0.0/16 table main","add":[["route","append","10.9.0.0/16","table","main","via","192.168.1.1","dev","@"]],"del":["route","del","10.9.0.0/16","table","main","via","192.168.1.1","dev","@"]}]}' > /run/pipework/nics/up0

# record the attachment on up0
ip link set dev up0 alias 'pipework1;g=netns:blue;i=eth1;h=up0;a=10.0.0.2/24;w=--direct-phys;n=up0'

# take up0 down
ip link set dev up0 down

# give up0 a unique name
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
