#!/usr/bin/env bats
# pipework disconnect <guest> [ifname]: afterwards nothing tells that there was an attachment.

load rig
load promise

setup() { need_docker; }
teardown() { clean_host; }

# own_network GUEST [WORD…] — gives the guest an eth0 and a default route by hand, with these words.
own_network() {
  in_guest "$1" ip link add dev eth0 type veth peer name other
  in_guest "$1" ip link set dev other up
  in_guest "$1" ip link set dev eth0 up
  in_guest "$1" sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0
  in_guest "$1" ip addr add 172.17.0.2/16 dev eth0
  in_guest "$1" ip addr add fd17::2/64 dev eth0 nodad
  in_guest "$1" ip route add default via 172.17.0.1 dev eth0 "${@:2}"
  in_guest "$1" ip -6 route add default via fd17::1 dev eth0
}

# --- what is taken away ----------------------------------------------------------------------------------

@test "one interface is taken away, the others stay" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24
  remember web
  pw br1 -i eth2 web 10.1.2.2/24
  run_pw disconnect web eth2
  assert_exit 0
  assert_out 'web no longer has eth2 on br1'
  assert_as_remembered
  [[ $(addresses web) == 10.1.1.2/24 ]]
}

@test "all interfaces are taken away, and nobody else's" {
  start_guest web
  start_guest web2
  pw br1 web2 10.1.1.3/24
  remember web web2
  pw br1 web 10.1.1.2/24@10.1.1.1
  pw br1 -i eth2 web fd00::2/64
  pw br2 -i eth3 web 10.1.2.2/24@10.1.2.1
  run_pw disconnect web --json
  assert_exit 0
  assert_json "$output" '.ok and .changed and ([.detached[].ifname] | sort == ["eth1", "eth2", "eth3"])'
  assert_as_remembered
}

@test "twice is once: the second says so and exits 0" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24
  assert_undone
  run_pw disconnect web
  assert_exit 0
  assert_out 'nothing changed'
  run_pw disconnect web eth1 --json
  assert_exit 0
  assert_json "$output" '.ok and .changed == false and .detached == []'
  assert_as_remembered
}

@test "an interface that is not attached: nothing changes, and what is attached is named" {
  start_guest web
  pw br1 web 10.1.1.2/24
  remember web
  run_pw disconnect web eth2
  assert_exit 0
  assert_out 'web has no eth2 that pipework attached (it has eth1); nothing changed'
  assert_as_remembered
}

@test "an unknown guest is an error, and the nearest name is told" {
  start_guest web-1
  pw br1 web-1 10.1.1.2/24
  remember web-1
  run_pw disconnect web-2
  assert_refused 1 "there is no container 'web-2'" 'Did you mean web-1?'
  run_pw disconnect
  assert_refused 2 'missing argument <guest>'
  run_pw disconnect web-1 eth1 eth2
  assert_refused 2 "unexpected argument 'eth2'"
}

@test "a guest that has stopped or is gone: its links went with it, and that is no error" {
  local before
  before=$(host_state)
  start_guest web
  pw br1 web 10.1.1.2/24 -l webhost
  stop_guest web
  wait_until 30 host_lacks webhost
  run_pw disconnect web
  assert_exit 0
  assert_out 'nothing changed'
  docker start web > /dev/null
  run_pw br1 web 10.1.1.2/24
  assert_exit 0
  run_pw disconnect web
  assert_exit 0
  assert_same_state "$before" "$(host_state)"
}

host_lacks() {
  ! on_host ip link show dev "$1" > /dev/null 2>&1
}

@test "a link whose guest is gone, but whose namespace somebody holds, is taken away" {
  local before
  before=$(host_state)
  start_guest web
  pw br1 web 10.1.1.2/24@10.1.1.1
  on_host touch /run/netns/held
  on_host mount --bind "$(guest_net web)" /run/netns/held
  docker rm --force web > /dev/null
  run_pw disconnect web
  assert_exit 0
  assert_same_state "$before" "$(host_state)"
  no_link held eth1
}

@test "an interface that was renamed, or moved to another bridge, by hand is found by its record" {
  start_guest web
  bridge br2
  remember web
  pw br1 web 10.1.1.2/24 -l webhost
  in_guest web ip link set dev eth1 down
  in_guest web ip link set dev eth1 name lan
  on_host ip link set dev webhost down
  on_host ip link set dev webhost name moved
  on_host ip link set dev moved master br2
  run_pw disconnect web eth1
  assert_exit 0
  on_host ip link del dev br1
  assert_as_remembered
}

@test "netns guests: by their kind only" {
  netns_guest blue
  start_guest blue
  remember blue
  pw br1 netns:blue 10.1.1.2/24@10.1.1.1
  run_pw disconnect blue
  assert_exit 0
  assert_out 'nothing changed'
  [[ $(addresses blue) == 10.1.1.2/24 ]]
  assert_undone netns:blue
}

# --- routes ----------------------------------------------------------------------------------------------

@test "the default routes that were replaced come back word for word" {
  local words
  for words in '' 'proto static src 172.17.0.2' 'proto dhcp src 172.17.0.2 onlink' 'mtu 1400 advmss 1360'; do
    start_guest web
    # shellcheck disable=SC2086 # words of a route
    own_network web $words
    remember web
    pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 --no-probe
    [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* && $(routes web 6) == *'default via fd00::1 dev eth1'* ]]
    run_pw disconnect web
    assert_exit 0
    assert_out 'restore the previous IPv4 default route'
    assert_as_remembered
    docker rm --force web > /dev/null
  done
}

@test "a default route over two gateways, or over none, comes back too" {
  start_guest web
  own_network web
  in_guest web ip route replace default nexthop via 172.17.0.1 dev eth0 weight 1 nexthop via 172.17.0.9 dev eth0 weight 3
  in_guest web ip -6 route append default via fd17::9 dev eth0
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 --no-probe
  [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* && $(routes web 6) == *'default via fd00::1 dev eth1'* ]]
  assert_undone

  in_guest web ip route replace default dev eth0
  in_guest web ip -6 route del default
  in_guest web ip -6 route add default dev eth0
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 --no-probe
  [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* && $(routes web 6) == *'default via fd00::1 dev eth1'* ]]
  assert_undone
}

@test "a default route with another metric is none of ours: it stays beside, and is not touched" {
  start_guest web
  own_network web metric 100
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1
  [[ $(routes web 4) == *'default via 172.17.0.1 dev eth0 metric 100'* ]]
  assert_undone
}

@test "without a gateway of its own an attachment leaves the default route alone, coming and going" {
  start_guest web
  own_network web
  remember web
  pw br1 web 10.1.1.2/24
  [[ $(routes web 4) == 'default via 172.17.0.1 dev eth0'* ]]
  assert_undone
}

@test "two links, each with the other's default route replaced: undone in both orders" {
  local order first second
  start_guest web
  own_network web proto static
  remember web
  for order in 'eth1 eth2' 'eth2 eth1'; do
    read -r first second <<< "$order"
    pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 --no-probe
    pw br1 -i eth2 web 10.1.2.2/24@10.1.2.1,fd01::2/64@fd01::1 --no-probe
    [[ $(routes web 4) == 'default via 10.1.2.1 dev eth2'* ]]
    pw disconnect web "$first"
    if [[ $first == eth1 ]]; then
      [[ $(routes web 4) == 'default via 10.1.2.1 dev eth2'* ]]
    else
      [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* ]]
    fi
    run_pw disconnect web "$second"
    assert_exit 0
    assert_as_remembered
  done
}

@test "a link that took the default route twice from another gives it back" {
  start_guest web
  own_network web
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1
  pw br1 -i eth2 web 10.1.2.2/24@10.1.2.1
  # Again eth1's turn, by hand; then both go.
  in_guest web ip route replace default via 10.1.1.1 dev eth1
  run_pw disconnect web
  assert_exit 0
  assert_as_remembered
}

@test "a default route that somebody has changed since is not overwritten" {
  start_guest web
  own_network web
  pw br1 web 10.1.1.2/24@10.1.1.1
  in_guest web ip route replace default via 172.17.0.99 dev eth0
  pw disconnect web
  [[ $(routes web 4) == 'default via 172.17.0.99 dev eth0'* ]]
  no_link web eth1
}

@test "an earlier default route whose interface is gone cannot come back, and that is no error" {
  start_guest web
  own_network web
  pw br1 web 10.1.1.2/24@10.1.1.1
  in_guest web ip link del dev eth0
  run_pw disconnect web
  assert_exit 0
  [[ -z $(routes web 4) ]]
  no_link web eth1
}

# --- the bridge ------------------------------------------------------------------------------------------

@test "the bridge goes with its last port, if pipework made it" {
  start_guest web
  start_guest db
  remember web db
  pw br1 web 10.1.1.2/24
  pw br1 db 10.1.1.3/24
  pw disconnect web
  on_host ip link show dev br1
  run_pw disconnect db
  assert_exit 0
  assert_out 'remove br1: pipework made it, and it is unused'
  assert_as_remembered
}

@test "a bridge that somebody else made stays" {
  start_guest web
  bridge br1
  remember web
  pw br1 web 10.1.1.2/24
  assert_undone
}

@test "a bridge that somebody gave a port or an address stays" {
  start_guest web
  pw br1 web 10.1.1.2/24
  on_host ip link set dev eth0 master br1
  pw disconnect web
  on_host ip link show dev br1

  on_host ip link set dev eth0 nomaster
  on_host ip addr add 10.1.1.1/24 dev br1
  pw br1 web 10.1.1.2/24
  run_pw disconnect web
  assert_exit 0
  assert_json "$(host_link br1)" '.addr_info | any(.local == "10.1.1.1")'
  no_link web eth1

  on_host ip addr del 10.1.1.1/24 dev br1
  pw br1 web 10.1.1.2/24
  pw disconnect web
  host_lacks br1
}
