#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24
# given: ip link add dev peer0 type veth peer name eth0 address 02:00:00:00:00:e0 netns blue && ip link set dev peer0 up && ip -n blue link set dev eth0 up && ip -n blue addr add 172.17.0.2/16 dev eth0 && ip -n blue route add default via 172.17.0.1
# given: sh src/plan/golden/default-replaced.sh
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24,10.0.0.2/24@10.0.0.1;d4=via+172.17.0.1+dev+eth0+proto+boot'

# take back the default gateway for IPv4
ip -n "$netns" route replace default via 172.17.0.1 dev eth0 proto boot

# record on veth1plblue that the change is complete
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24'
