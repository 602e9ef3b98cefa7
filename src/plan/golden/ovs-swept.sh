#!/bin/sh
# pipework ovs1 netns:blue 10.0.0.2/24
# given: ovs-vsctl add-br ovs1 -- set Bridge ovs1 datapath_type=netdev
# given: ovs-vsctl add-port ovs1 veth1plblue -- set Interface veth1plblue external-ids:pipework.interface=veth1plblue
# given: ovs-vsctl add-port ovs1 veth1pl4711 -- set Interface veth1pl4711 external-ids:pipework.interface=veth1pl4711
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# remove ports of containers that are gone: veth1plblue, veth1pl4711
ovs-vsctl --timeout=5 -- --if-exists del-port veth1plblue -- --if-exists del-port veth1pl4711

# connect eth1 in blue to ovs1
ip link add dev veth1plblue mtu 1500 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=ovs1;a=10.0.0.2/24'

# bring veth1plblue up
ip link set dev veth1plblue up

# put veth1plblue on ovs1
said=$(ovs-vsctl --timeout=5 -- add-port ovs1 veth1plblue -- set Port veth1plblue other_config:transient=true -- set Interface veth1plblue external-ids:pipework.interface=veth1plblue external-ids:pipework.bridge=ovs1 external-ids:pipework.guest=netns:blue external-ids:pipework.ifname=eth1 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
case $said in *'Error detected'*) printf '%s\n' "$said" >&2; exit 1 ;; esac

# let the kernel announce the addresses of eth1
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1

# bring eth1 up
ip -n "$netns" link set dev eth1 up

# ask whether somebody has 10.0.0.2
tries=10; until nsenter --net="/run/netns/$netns" timeout --preserve-status -s INT 0.25 arping -D -I eth1 10.0.0.2; do [ $? -eq 130 ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01
