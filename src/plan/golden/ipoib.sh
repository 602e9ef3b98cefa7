#!/bin/sh
# pipework up0 -i ib0 netns:blue 10.0.0.2/24 @8001
# given: # an InfiniBand interface up0
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# connect ib0 in blue to up0
ip link add link up0 name ib0 netns "$netns" type ipoib pkey 0x8001

# record the attachment on ib0
ip -n "$netns" link set dev ib0 alias 'pipework1;g=netns:blue;i=ib0;h=up0;a=10.0.0.2/24;w=@8001'

# let the kernel announce the addresses of ib0
ip netns exec "$netns" sysctl -qw net/ipv4/conf/ib0/arp_notify=1

# bring ib0 up
ip -n "$netns" link set dev ib0 up

# ask whether somebody has 10.0.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I ib0 10.0.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give ib0 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev ib0
