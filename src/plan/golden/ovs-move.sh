#!/bin/sh
# pipework ovs2 netns:blue 10.0.0.2/24 @10
# given: sh src/plan/golden/ovs-fresh.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=ovs2;a=10.0.0.2/24;w=@10'

# put veth1plblue on ovs2, which is made
said=$(ovs-vsctl --timeout=5 -- add-br ovs2 -- set Bridge ovs2 datapath_type=netdev -- br-set-external-id ovs2 pipework made -- --if-exists del-port veth1plblue -- add-port ovs2 veth1plblue -- set Port veth1plblue tag=10 other_config:transient=true -- set Interface veth1plblue external-ids:pipework.interface=veth1plblue external-ids:pipework.bridge=ovs2 external-ids:pipework.vlan=10 external-ids:pipework.guest=netns:blue external-ids:pipework.ifname=eth1 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
case $said in *'Error detected'*) printf '%s\n' "$said" >&2; exit 1 ;; esac
