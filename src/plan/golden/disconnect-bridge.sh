#!/bin/sh
# pipework disconnect netns:blue eth1
# given: sh src/plan/golden/fresh-both.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# detach eth1 from blue
ip link del dev veth1plblue

# remove br1: pipework made it, and it is unused
[ -n "$(ls -A /sys/class/net/br1/brif 2>/dev/null)" ] || ip link del dev br1
