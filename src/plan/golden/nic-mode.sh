#!/bin/sh
# pipework up0 netns:blue 10.0.0.2/24 --mode=private
# given: ip link add dev up0 address 02:00:00:00:00:0e type veth peer name lan0 && ip link set dev lan0 up && ip link set dev up0 up
# given: sh src/plan/golden/nic.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# set the mode of eth1
ip -n "$netns" link set dev eth1 type macvlan mode private

# record the attachment on eth1
ip -n "$netns" link set dev eth1 alias 'pipework1;g=netns:blue;i=eth1;h=up0;a=10.0.0.2/24;w=--mode=private'
