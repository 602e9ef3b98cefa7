#!/bin/sh
# pipework ovs1 netns:blue 10.0.0.2/24 @10
# given: # a kernel that has Open vSwitch's module
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# connect eth1 in blue to ovs1
ip link add dev veth1plblue mtu 1500 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=ovs1;a=10.0.0.2/24;w=@10'

# bring veth1plblue up
ip link set dev veth1plblue up

# put veth1plblue on ovs1, which is made
said=$(ovs-vsctl --timeout=5 -- add-br ovs1 -- br-set-external-id ovs1 pipework made -- add-port ovs1 veth1plblue -- set Port veth1plblue tag=10 other_config:transient=true -- set Interface veth1plblue external-ids:pipework.interface=veth1plblue external-ids:pipework.bridge=ovs1 external-ids:pipework.vlan=10 external-ids:pipework.guest=netns:blue external-ids:pipework.ifname=eth1 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
case $said in *'Error detected'*) printf '%s\n' "$said" >&2; exit 1 ;; esac

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
