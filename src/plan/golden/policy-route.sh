#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1 --policy-route
# given: ip link add dev peer0 type veth peer name eth0 address 02:00:00:00:00:e0 netns blue && ip link set dev peer0 up && ip -n blue link set dev eth0 up && ip -n blue addr add 172.17.0.2/16 dev eth0 && ip -n blue route add default via 172.17.0.1
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# create the bridge br1
ip link add dev br1 address 02:00:00:00:00:b1 type bridge stp_state 0

# record that pipework made br1
ip link set dev br1 alias 'pipework1;made'

# bring br1 up
ip link set dev br1 up

# connect eth1 in blue to br1
ip link add dev veth1plblue mtu 1500 master br1 type veth peer name eth1 address 02:00:00:00:00:01 mtu 1500 netns "$netns"

# record the attachment on veth1plblue
ip link set dev veth1plblue alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1;w=--policy-route;d4=via+172.17.0.1+dev+eth0+proto+boot'

# bring veth1plblue up
ip link set dev veth1plblue up

# let the kernel announce the addresses of eth1, and allow IPv6 there
ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1 net/ipv6/conf/eth1/ndisc_notify=1 net/ipv6/conf/eth1/disable_ipv6=0

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

# give eth1 the address 10.0.0.2/24
ip -n "$netns" addr add 10.0.0.2/24 brd + dev eth1

# make 10.0.0.1 the default gateway for IPv4
ip -n "$netns" route replace default via 10.0.0.1 dev eth1

# make fd00::1 the default gateway for IPv6
ip -n "$netns" route replace ::/0 via fd00::1 dev eth1

# announce eth1 to its neighbours
ip -n "$netns" link set dev eth1 address 02:00:00:00:00:01

# reach 10.0.0.0/24 over eth1 in the table 1109799278
ip -n "$netns" route replace 10.0.0.0/24 dev eth1 table 1109799278

# reach default over eth1 in the table 1109799278
ip -n "$netns" route replace default via 10.0.0.1 dev eth1 table 1109799278

# reach 172.17.0.0/16 over eth0 in the table 1109799279
ip -n "$netns" route replace 172.17.0.0/16 dev eth0 table 1109799279

# reach default over eth0 in the table 1109799279
ip -n "$netns" route replace default via 172.17.0.1 dev eth0 table 1109799279

# reach fd00::/64 over eth1 in the table 1109799278
ip -n "$netns" route replace fd00::/64 dev eth1 table 1109799278

# reach ::/0 over eth1 in the table 1109799278
ip -n "$netns" route replace ::/0 via fd00::1 dev eth1 table 1109799278

# note that there are rules which do not go with their interface
mkdir -p /run/pipework/policy && printf '%s\n' 'see pipework rule <guest> show' > /run/pipework/policy/4026532999

# look up what comes from 10.0.0.2 in the table 1109799278
ip -n "$netns" rule add from 10.0.0.2 table 1109799278 priority 10000

# look up what comes from 172.17.0.2 in the table 1109799279
ip -n "$netns" rule add from 172.17.0.2 table 1109799279 priority 10000

# look up what comes from fd00::2 in the table 1109799278
ip netns exec "$netns" ip -6 rule add from fd00::2 table 1109799278 priority 10000
