#!/bin/sh
# pipework up0 -i ib0 netns:blue fd00::2/64@fd00::1 @8001
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
ip -n "$netns" link set dev ib0 alias 'pipework1;g=netns:blue;i=ib0;h=up0;a=fd00::2/64@fd00::1;w=@8001'

# let the kernel announce the addresses of ib0, and allow IPv6 there
ip netns exec "$netns" sysctl -qw net/ipv6/conf/ib0/ndisc_notify=1 net/ipv6/conf/ib0/disable_ipv6=0

# bring ib0 up
ip -n "$netns" link set dev ib0 up

# give ib0 the address fd00::2/64
ip -n "$netns" addr add fd00::2/64 dev ib0

# wait until the kernel has made sure that nobody has fd00::2
tries=100
while answer=$(nsenter --net="/run/netns/$netns" ip -6 addr show dev ib0 tentative); do
  case $answer in
    *dadfailed*) printf '%s\n' "$answer" >&2; exit 1 ;;
    *tentative*) [ "$((tries -= 1))" -gt 0 ] || exit 1; sleep 0.1 ;;
    *) break ;;
  esac
done

# make fd00::1 the default gateway for IPv6
ip -n "$netns" route replace ::/0 via fd00::1 dev ib0
