#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24@10.0.0.1,10.0.0.3/24,10.9.0.2/16
# given: sh src/plan/golden/fresh-gateway.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1,10.0.0.3/24,10.9.0.2/16'

# ask whether somebody has 10.0.0.3
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.0.0.3; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# ask whether somebody has 10.9.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.9.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give eth1 the address 10.0.0.3/24
ip -n "$netns" addr add 10.0.0.3/24 brd + dev eth1

# give eth1 the address 10.9.0.2/16
ip -n "$netns" addr add 10.9.0.2/16 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
