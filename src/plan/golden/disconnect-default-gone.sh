#!/bin/sh
# pipework disconnect netns:blue eth1
# given: ip link add dev peer0 type veth peer name eth0 address 02:00:00:00:00:e0 netns blue && ip link set dev peer0 up && ip -n blue link set dev eth0 up && ip -n blue addr add 172.17.0.2/16 dev eth0 && ip -n blue route add default via 172.17.0.1
# given: sh src/plan/golden/default-replaced.sh
# given: ip link del dev peer0
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
