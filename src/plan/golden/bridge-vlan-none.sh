#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24
# given: sh src/plan/golden/bridge-vlan.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# put veth1plblue into VLAN 1, without a tag
bridge vlan add dev veth1plblue vid 1 pvid untagged

# take veth1plblue out of VLAN 10
bridge vlan del dev veth1plblue vid 10

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24'
