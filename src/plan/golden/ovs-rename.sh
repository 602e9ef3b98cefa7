#!/bin/sh
# pipework ovs1 -l bluehost netns:blue 10.0.0.2/24 @10
# given: sh src/plan/golden/ovs-fresh.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# take the port veth1plblue off ovs1
ovs-vsctl --timeout=5 -- --if-exists del-port veth1plblue

# take veth1plblue down to rename it
ip link set dev veth1plblue down

# rename veth1plblue
ip link set dev veth1plblue name bluehost

# bring bluehost up
ip link set dev bluehost up

# put bluehost on ovs1
said=$(ovs-vsctl --timeout=5 -- add-port ovs1 bluehost -- set Port bluehost tag=10 other_config:transient=true -- set Interface bluehost external-ids:pipework.interface=bluehost external-ids:pipework.bridge=ovs1 external-ids:pipework.vlan=10 external-ids:pipework.guest=netns:blue external-ids:pipework.ifname=eth1 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
case $said in *'Error detected'*) printf '%s\n' "$said" >&2; exit 1 ;; esac
