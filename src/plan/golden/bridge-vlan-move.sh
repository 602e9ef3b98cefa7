#!/bin/sh
# pipework br2 netns:blue 10.0.0.2/24 @10
# given: sh src/plan/golden/bridge-vlan.sh
# given: ip link add dev br2 address 02:00:00:00:00:b0 type bridge stp_state 0 && ip link set dev br2 up && ip link set dev br2 type bridge vlan_filtering 1
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# move veth1plblue to br2
ip link set dev veth1plblue master br2

# put veth1plblue into VLAN 10, without a tag
bridge vlan add dev veth1plblue vid 10 pvid untagged

# take veth1plblue out of VLAN 1
bridge vlan del dev veth1plblue vid 1

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br2;a=10.0.0.2/24;w=@10'
