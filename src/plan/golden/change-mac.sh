#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24 26:2e:71:98:60:8f
# given: sh src/plan/golden/fresh.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24;w=26:2e:71:98:60:8f'

# set the MAC address of eth1
ip -n "$netns" link set dev eth1 address 26:2e:71:98:60:8f
