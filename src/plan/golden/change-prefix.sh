#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/16@10.0.0.1
# given: sh src/plan/golden/fresh-gateway.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/16@10.0.0.1,10.0.0.2/24@10.0.0.1'

# remove 10.0.0.2/24 from eth1
ip -n "$netns" addr del 10.0.0.2/24 dev eth1

# give eth1 the address 10.0.0.2/16
ip -n "$netns" addr add 10.0.0.2/16 brd + dev eth1

# make 10.0.0.1 the default gateway for IPv4
ip -n "$netns" route replace default via 10.0.0.1 dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01

# record on veth1plblue that the change is complete
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/16@10.0.0.1'
