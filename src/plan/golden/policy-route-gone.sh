#!/bin/sh
# pipework br1 netns:blue 10.0.0.9/24
# given: sh src/plan/golden/policy-route-alone.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.9/24,10.0.0.2/24;w=--policy-route'

# ask whether somebody has 10.0.0.9
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.0.0.9; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# no longer look up what comes from 10.0.0.2 in the table 1109799278
ip -n "$netns" rule del from 10.0.0.2 table 1109799278 priority 10000

# remove the route to 10.0.0.0/24 over eth1 from the table 1109799278
ip -n "$netns" route del 10.0.0.0/24 dev eth1 table 1109799278

# remove 10.0.0.2/24 from eth1
ip -n "$netns" addr del 10.0.0.2/24 dev eth1

# give eth1 the address 10.0.0.9/24
ip -n "$netns" addr add 10.0.0.9/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01

# record on veth1plblue that the change is complete
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.9/24'
