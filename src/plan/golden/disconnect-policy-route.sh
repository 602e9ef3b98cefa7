#!/bin/sh
# pipework disconnect netns:blue eth1
# given: sh src/plan/golden/policy-route-alone.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# no longer look up what comes from 10.0.0.2 in the table 1109799278
ip -n "$netns" rule del from 10.0.0.2 table 1109799278 priority 10000

# remove the route to 10.0.0.0/24 over eth1 from the table 1109799278
ip -n "$netns" route del 10.0.0.0/24 dev eth1 table 1109799278

# detach eth1 from blue
ip link del dev veth1plblue

# remove br1: pipework made it, and it is unused
[ -n "$(ls -A /sys/class/net/br1/brif 2>/dev/null)" ] || ip link del dev br1
