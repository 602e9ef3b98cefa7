#!/bin/sh
# pipework disconnect netns:blue eth1
# given: sh src/plan/golden/ovs-fresh.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# take the port veth1plblue off ovs1
ovs-vsctl --timeout=5 -- --if-exists del-port veth1plblue

# detach eth1 from blue
ip link del dev veth1plblue

# remove ovs1: pipework made it and nobody uses it
[ "$(ovs-vsctl --timeout=2 list-ports ovs1 -- br-get-external-id ovs1 pipework 2>/dev/null)" != made ] || ovs-vsctl --timeout=2 -- --if-exists del-br ovs1
