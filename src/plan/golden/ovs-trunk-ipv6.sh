#!/bin/sh
# pipework ovs1 netns:blue fd00::2/64@fd00::1 @10,20-22
# given: ovs-vsctl add-br ovs1 -- set Bridge ovs1 datapath_type=netdev
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# connect eth1 in blue to ovs1
ip link add dev veth1plblue mtu 1500 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=ovs1;a=fd00::2/64@fd00::1;w=@10,20-22'

# bring veth1plblue up
ip link set dev veth1plblue up

# put veth1plblue on ovs1
said=$(ovs-vsctl --timeout=5 -- add-port ovs1 veth1plblue -- set Port veth1plblue tag=10 trunks=20,21,22 vlan_mode=native-untagged other_config:transient=true -- set Interface veth1plblue external-ids:pipework.interface=veth1plblue external-ids:pipework.bridge=ovs1 external-ids:pipework.vlan=10,20-22 external-ids:pipework.guest=netns:blue external-ids:pipework.ifname=eth1 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
case $said in *'Error detected'*) printf '%s\n' "$said" >&2; exit 1 ;; esac

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
