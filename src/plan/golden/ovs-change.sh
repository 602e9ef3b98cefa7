#!/bin/sh
# pipework ovs1 netns:blue 10.0.0.2/24 @20-21
# given: sh src/plan/golden/ovs-fresh.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=ovs1;a=10.0.0.2/24;w=@20-21'

# change the port veth1plblue of ovs1
ovs-vsctl --timeout=5 -- clear Port veth1plblue tag trunks vlan_mode -- set Port veth1plblue trunks=20,21 vlan_mode=trunk other_config:transient=true -- set Interface veth1plblue external-ids:pipework.vlan=20-21
