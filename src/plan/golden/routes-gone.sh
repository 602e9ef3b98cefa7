#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24
# given: sh src/plan/golden/routes-on-link.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# remove the route to 10.50.0.0/16, which is no longer asked for
ip -n "$netns" route del 10.50.0.0/16 dev eth1

# remove the route to 10.51.0.0/16, which is no longer asked for
ip -n "$netns" route del 10.51.0.0/16 dev eth1 metric 70

# remove the route to 10.9.9.9, which is no longer a gateway
ip -n "$netns" route del 10.9.9.9 dev eth1

# record on veth1plblue that the change is complete
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24'
