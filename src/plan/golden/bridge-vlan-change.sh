#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24 @20,10,30-31
# given: sh src/plan/golden/bridge-vlan.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# put veth1plblue into VLAN 20, without a tag
bridge vlan add dev veth1plblue vid 20 pvid untagged

# put veth1plblue into VLAN 10, with a tag
bridge vlan add dev veth1plblue vid 10

# put veth1plblue into VLANs 30 to 31, with a tag
bridge vlan add dev veth1plblue vid 30-31

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24;w=@20,10,30-31'
