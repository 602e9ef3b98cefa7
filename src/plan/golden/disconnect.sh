#!/bin/sh
# pipework disconnect netns:blue eth1
# given: ip link add dev br1 address 02:00:00:00:00:b0 type bridge stp_state 0 && ip link set dev br1 up
# given: sh src/plan/golden/existing-bridge.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# detach eth1 from blue
ip link del dev veth1plblue
