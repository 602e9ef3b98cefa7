# shellcheck shell=bash
# shellcheck disable=SC2154 # status, output, stderr and BATS_* are set by bats
# What tests of uplinks ask of the host. Loaded after rig.

# furnish — gives eth0 more than any host has: two IPv4 addresses, IPv6 for ever and for a while, routes in two tables,
# rules of both families, a neighbour that somebody wrote down.
furnish() {
  on_lan ip -batch - << 'END'
addr replace fd77::1/64 dev lan0 nodad
addr replace fe80::1/64 dev lan0 nodad
addr replace 192.168.77.2/24 dev lan0
END
  on_host ip -batch - << 'END'
addr add 192.168.77.11/24 brd + label eth0:1 dev eth0
addr add 10.66.0.1 peer 10.66.0.2/32 dev eth0
addr add fd77::10/64 dev eth0
addr add fd77::11/64 dev eth0 nodad valid_lft 3000 preferred_lft 2000
addr add fd77::12/64 dev eth0 noprefixroute
route add 10.99.0.0/16 via 192.168.77.2 dev eth0 src 192.168.77.11 metric 7
route append 10.99.0.0/16 via 192.168.77.1 dev eth0 metric 7
route add 10.98.0.0/16 dev eth0 proto static scope link mtu 1400
route add 10.97.0.0/16 via 192.168.77.9 dev eth0 onlink table 100
route add 10.96.0.0/16 table 100 nexthop via 192.168.77.1 dev eth0 weight 2 nexthop via 192.168.77.2 dev eth0
route add local 10.95.0.0/24 dev eth0
route add ::/0 via fe80::1 dev eth0
route add fd99::/64 via fd77::1 dev eth0 table 100 pref high
route add fd98::/64 metric 50 nexthop via fd77::1 dev eth0 nexthop via fd77::2 dev eth0
neigh add 192.168.77.99 lladdr 02:00:00:00:00:99 nud permanent dev eth0
END
  on_host ip rule add from 192.168.77.11 iif eth0 table 100 priority 1000
  on_host ip -6 rule add iif eth0 fwmark 7 table 100 priority 1001
  wait_until 30 settled
}

# settled — no address of the host is still being asked for.
settled() {
  [[ -z $(on_host ip address show tentative) ]]
}

# network — what `ip -j` says of the host: addresses, routes and rules in their order, but for what changes by itself:
# the time that is left, and indexes of links.
network() {
  on_host sh -c '
    ip -d -j address; ip -4 -j route show table all; ip -6 -j route show table all; ip -4 -j rule; ip -6 -j rule
    ip -j neigh show nud permanent; grep . /proc/sys/net/ipv6/conf/eth0/addr_gen_mode' | jq -s '
    walk(if type == "object" then
      (if .expires then .expires = "some" else . end)
      | (if .valid_life_time then .valid_life_time |= (if . > 4000 then "for ever" else "some" end) else . end)
      | del(.preferred_life_time, .ifindex, .link_index, .operstate, .info_data, .info_slave_data)
      else . end)
    # IPv6 lists routes of all tables as they lie in its tree.
    | .[2] |= sort_by(tojson)'
}

# assert_network BEFORE — the host is, byte for byte, as it was.
assert_network() {
  assert_same_state "$1" "$(network)"
}

# is_network BEFORE — the same as a question.
is_network() {
  [[ $(network) == "$1" ]]
}

# guards — prints the PIDs of dead man's timers on the host.
guards() {
  rig_pids "$RIG_DIR" | xargs --no-run-if-empty ps -o pid=,args= -p | grep 'uplink guard' || true
}

# no_guards — true when the last of them has ended.
no_guards() {
  [[ -z $(guards) ]]
}

# clean_uplinks — after a test: nothing of an uplink is left, and no timer runs.
clean_uplinks() {
  local rule
  on_host rm -rf /run/pipework/uplinks /run/systemd /run/NetworkManager /run/network
  wait_until 60 no_guards
  for rule in 1000 1001; do
    on_host ip rule del priority "$rule" 2> /dev/null || true
    on_host ip -6 rule del priority "$rule" 2> /dev/null || true
  done
  on_lan ip link set dev lan0 arp on
  on_lan ip address flush dev lan0
  on_host ip link del dev eth0 2> /dev/null || true
  clean_host
}
