#!/bin/sh
# pipework up0 netns:blue fd00::2/64@fd00::1 --direct-phys
# given: # a wireless NIC up0, on the radio phy3
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# write down how up0 is, to bring it back so
mkdir -p /run/pipework/nics && printf '%s\n' '{"name":"up0","guest":"netns:blue","kind":"veth","up":true,"mtu":1500,"mac":"02:00:00:00:00:0e","addresses":[["192.168.1.5/24","brd","192.168.1.255"]],"routes":[{"family":4,"dst":"10.9.0.0/16","words":["via","192.168.1.1","dev","up0"]}],"phy":"phy#3"}' > /run/pipework/nics/up0

# record the attachment on up0
ip link set dev up0 alias 'pipework1;g=netns:blue;i=eth1;h=up0;a=fd00::2/64@fd00::1;w=--direct-phys;n=up0'

# take up0 down
ip link set dev up0 down

# give up0 a name that nobody has
ip link set dev up0 name pw4c484b193d

# move up0 into blue
iw 'phy#3' set netns name "$netns"

# call it eth1 there
ip -n "$netns" link set dev pw4c484b193d name eth1

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
