#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24@10.0.0.1
# given: sh src/plan/golden/fresh-gateway.sh
# given: sh src/plan/golden/more-addresses.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# remove 10.9.0.2/16 from eth1
ip -n "$netns" addr del 10.9.0.2/16 dev eth1

# remove 10.0.0.3/24 from eth1
ip -n "$netns" addr del 10.0.0.3/24 dev eth1

# make 10.0.0.1 the default gateway for IPv4
ip -n "$netns" route replace default via 10.0.0.1 dev eth1

# record on veth1plblue that the change is complete
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1'
