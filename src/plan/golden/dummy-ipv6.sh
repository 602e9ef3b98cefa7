#!/bin/sh
# pipework dummy netns:blue fd00::2/64@fd00::1
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# create eth1 in blue
ip link add name eth1 address 02:00:00:00:00:01 netns "$netns" type dummy

# record the attachment on eth1
ip -n "$netns" link set dev eth1 alias 'pipework1;g=netns:blue;i=eth1;h=dummy;a=fd00::2/64@fd00::1'

# let the kernel announce the addresses of eth1, and allow IPv6 there
ip netns exec "$netns" sysctl -qw net/ipv6/conf/eth1/ndisc_notify=1 net/ipv6/conf/eth1/disable_ipv6=0

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# give eth1 the address fd00::2/64
ip -n "$netns" addr add fd00::2/64 dev eth1

# wait until the kernel has made sure that nobody has fd00::2
tries=100
while answer=$(nsenter --net="/run/netns/$netns" ip -6 addr show dev eth1 tentative); do
  case $answer in
    *dadfailed*) printf '%s\n' "$answer" >&2; exit 1 ;;
    *tentative*) [ "$((tries -= 1))" -gt 0 ] || exit 1; sleep 0.1 ;;
    *) break ;;
  esac
done

# make fd00::1 the default gateway for IPv6
ip -n "$netns" route replace ::/0 via fd00::1 dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
