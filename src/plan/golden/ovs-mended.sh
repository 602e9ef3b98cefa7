#!/bin/sh
# pipework lan netns:blue 10.0.0.2/24
# given: ovs-vsctl add-br lan
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# connect eth1 in blue to lan
ip link add dev veth1plblue mtu 1500 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=lan;a=10.0.0.2/24'

# bring veth1plblue up
ip link set dev veth1plblue up

# put veth1plblue on lan
said=$(ovs-vsctl --timeout=5 -- set Bridge lan datapath_type=netdev -- add-port lan veth1plblue -- set Port veth1plblue other_config:transient=true -- set Interface veth1plblue external-ids:pipework.interface=veth1plblue external-ids:pipework.bridge=lan external-ids:pipework.guest=netns:blue external-ids:pipework.ifname=eth1 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
case $said in *'Error detected'*) printf '%s\n' "$said" >&2; exit 1 ;; esac

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
