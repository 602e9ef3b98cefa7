#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24
# given: sh src/plan/golden/fresh.sh
# given: ip link set dev br1 mtu 1400
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# set the MTU of veth1plblue to 1400
ip link set dev veth1plblue mtu 1400

# set the MTU of eth1 to 1400
ip -n "$netns" link set dev eth1 mtu 1400
