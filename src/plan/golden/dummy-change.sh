#!/bin/sh
# pipework dummy netns:blue 10.0.0.3/24 02:00:00:00:00:77
# given: sh src/plan/golden/dummy.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# set the MAC address of eth1
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:77

# record the attachment on eth1
ip -n "$netns" link set dev eth1 alias 'pipework1;g=netns:blue;i=eth1;h=dummy;a=10.0.0.3/24,10.0.0.2/24;w=02:00:00:00:00:77'

# remove 10.0.0.2/24 from eth1
ip -n "$netns" addr del 10.0.0.2/24 dev eth1

# give eth1 the address 10.0.0.3/24
ip -n "$netns" addr add 10.0.0.3/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:77

# record on eth1 that the change is complete
ip -n "$netns" link set dev eth1 alias 'pipework1;g=netns:blue;i=eth1;h=dummy;a=10.0.0.3/24;w=02:00:00:00:00:77'
