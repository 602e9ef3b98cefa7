#!/bin/sh
# pipework br1 -l bluehost netns:blue 10.0.0.2/24
# given: sh src/plan/golden/fresh.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# take veth1plblue down to rename it
ip link set dev veth1plblue down

# rename veth1plblue
ip link set dev veth1plblue name bluehost

# bring bluehost up
ip link set dev bluehost up
