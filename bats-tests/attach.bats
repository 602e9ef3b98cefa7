#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # run_pw sets output, in the test that reads it
# pipework <bridge> <guest> <address>…: what is there afterwards, inside and outside, and that disconnect undoes it.

load rig
load promise

setup() { need_docker; }
teardown() { clean_host; }

# --- the main job ----------------------------------------------------------------------------------------

@test "the first examples of the README, one after the other, and all of it undone" {
  start_guest web
  start_guest db
  remember web db

  run_pw br1 web 192.168.1.10/24@192.168.1.1
  assert_exit 0
  assert_out 'web has eth1 on br1 with 192.168.1.10/24 (gateway 192.168.1.1)'
  assert_out 'undo: pipework disconnect web'
  [[ $(addresses web) == 192.168.1.10/24 ]]

  run_pw br1 -i eth2 -l webhost -a inet6 web fd00::10/64@fd00::1 U:web
  assert_exit 0
  [[ $(addresses web eth2) == fd00::10/64 ]]
  [[ $(host_end web eth2) == webhost ]]
  assert_json "$(link web eth2)" ".address == \"02:$(md5sum <<< web | sed -E 's/(..)(..)(..)(..)(..).*/\1:\2:\3:\4:\5/')\""

  run_pw br1 db 10.0.0.2/24,fd00::2/64@fd00::1 26:2e:71:98:60:8f
  assert_exit 0
  [[ $(addresses db) == '10.0.0.2/24 fd00::2/64' ]]
  assert_json "$(link db eth1)" '.address == "26:2e:71:98:60:8f"'
  ping_from web fd00::2

  run_pw ls
  assert_exit 0
  [[ $(wc -l <<< "$output") == 4 ]]
  run_pw disconnect web eth1
  assert_exit 0
  no_link web eth1
  [[ $(addresses web eth2) == fd00::10/64 ]]
  run_pw disconnect db
  assert_exit 0
  assert_undone web
}

@test "both ends of the link: names, MAC address, the bridge's MTU, up; broadcast, default route, record" {
  start_guest web
  bridge br1
  on_host ip link set dev br1 mtu 1400
  remember web
  run_pw br1 web 10.1.1.2/20@10.1.1.1 26:2e:71:98:60:8f -l webhost
  assert_exit 0
  assert_json "$(link web eth1)" '.linkinfo.info_kind == "veth" and .mtu == 1400 and .address == "26:2e:71:98:60:8f" and .operstate == "UP"'
  assert_json "$(link web eth1)" '.addr_info[0] | .local == "10.1.1.2" and .prefixlen == 20 and .broadcast == "10.1.15.255" and .scope == "global"'
  assert_json "$(host_link webhost)" '.master == "br1" and .mtu == 1400 and .operstate == "UP" and (.ifalias | startswith("pipework"))'
  [[ $(routes web 4) == $'default via 10.1.1.1 dev eth1\n10.1.0.0/20 dev eth1 proto kernel scope link src 10.1.1.2' ]]
  assert_undone
}

@test "two containers reach each other over a new bridge, by IPv4 and IPv6" {
  start_guest web
  start_guest db
  remember web db
  pw br1 web 10.1.1.2/24,fd00::2/64
  pw br1 db 10.1.1.3/24,fd00::3/64
  ping_from web 10.1.1.3
  ping_from web fd00::3
  ping_from db 10.1.1.2
  pw disconnect db
  run ! docker exec web ping -c 1 -W 1 -q 10.1.1.3
  assert_undone web
}

@test "the LAN is reached when the host's NIC is put into the bridge" {
  start_guest web
  remember web
  pw br1 web 192.168.77.50/24@192.168.77.1
  on_host ip link set dev eth0 master br1
  ping_from web 192.168.77.1
  on_lan ping -c 1 -W 20 -q 192.168.77.50
  on_host ip link set dev eth0 nomaster
  assert_undone
}

@test "a container on a Docker network keeps its link there and gets another" {
  docker network create --internal=false --subnet 172.30.0.0/24 --gateway 172.30.0.1 back > /dev/null
  start_guest web --network back
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1
  [[ $(addresses web) == 10.1.1.2/24 && $(addresses web eth0) == 172.30.0.*/24 ]]
  [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* ]]
  assert_undone
  [[ $(routes web 4) == 'default via 172.30.0.1 dev eth0'* ]]
  docker rm --force web
  docker network rm back
}

@test "a container that shares another's network is as good a guest" {
  start_guest web
  docker run --detach --name side --network container:web busybox > /dev/null
  remember web
  pw br1 side 10.1.1.2/24
  [[ $(addresses web) == 10.1.1.2/24 ]]
  assert_undone side
}

# --- the same again --------------------------------------------------------------------------------------

@test "a second identical run changes nothing, says so, and exits 0" {
  local again host guest
  again=(br1 web '10.1.1.2/24@10.1.1.1,10.1.1.9/24,fd00::2/64@fd00::1' U:web -l webhost)
  start_guest web
  remember web
  run_pw "${again[@]}" --json
  assert_exit 0
  assert_json "$output" '.ok and .changed and (.steps | length > 0) and .undo == "pipework disconnect web"'
  host=$(host_state)
  guest=$(guest_state web)

  run_pw "${again[@]}"
  assert_exit 0
  assert_out 'nothing changed'
  run_pw "${again[@]}" --json
  assert_exit 0
  assert_json "$output" '.ok and .changed == false and .steps == [] and .attachment.addresses[0] == "10.1.1.2/24@10.1.1.1"'
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$guest" "$(guest_state web)"
  assert_undone
}

# --- something else than before: changed in place --------------------------------------------------------

# No probe, unless a test is about it: dozens of them would take their time.
WITH=(--no-probe)

# assert_converges ADDRESSES [MAC] becomes ADDRESSES [MAC] — the second, run on the first, leaves what it makes anew,
# on the same link. WITH has more options for it.
assert_converges() {
  local from=() state index
  while [[ $1 != becomes ]]; do from+=("$1"); shift; done
  shift
  pw br1 web "${from[@]}" --no-probe
  index=$(link web eth1 | jq .ifindex)
  run_pw br1 web "$@" --json "${WITH[@]}"
  assert_exit 0
  assert_json "$output" .changed
  assert_json "$(link web eth1)" ".ifindex == $index"
  state=$(state_without_chance web)
  pw disconnect web eth1
  assert_as_remembered

  pw br1 web "$@" --no-probe
  assert_same_state "$state" "$(state_without_chance web)"
  pw disconnect web eth1
  assert_as_remembered
}

@test "converge: another address, prefix or gateway; one more, one less" {
  start_guest web
  remember web
  assert_converges 10.1.1.2/24 becomes 10.1.1.3/24
  assert_converges 10.1.1.2/24@10.1.1.1 becomes 10.1.1.3/24@10.1.1.1
  assert_converges 10.1.1.2/24@10.1.1.1 becomes 10.1.1.2/16@10.1.1.1
  assert_converges 10.1.1.2/24@10.1.1.1 becomes 10.1.1.2/24@10.1.1.254
  assert_converges 10.1.1.2/24 becomes 10.1.1.2/24@10.1.1.1
  assert_converges 10.1.1.2/24@10.1.1.1 becomes 10.1.1.2/24@10.1.1.1,10.1.1.3/24
  assert_converges 10.1.1.3/24,10.1.1.2/24@10.1.1.1 becomes 10.1.1.2/24@10.1.1.1
  assert_converges 10.1.1.2/24@10.1.1.1,10.2.2.2/24 becomes 10.2.2.2/24
  assert_converges 10.1.1.2/24@10.9.9.9 becomes 10.1.1.2/24@10.1.1.1
  assert_converges 10.1.1.2/24@10.9.9.9 becomes 10.1.1.2/16@10.8.8.8
  assert_converges 10.1.1.2/24@10.9.9.9 becomes 10.1.1.2/24
}

@test "converge: IPv6 comes, changes and goes" {
  start_guest web
  remember web
  assert_converges 10.1.1.2/24 becomes 10.1.1.2/24,fd00::2/64@fd00::1
  assert_converges fd00::2/64@fd00::1 becomes fd00::3/64@fd00::1
  assert_converges fd00::2/64@fd00::1 becomes fd00::2/64
  assert_converges fd00::2/64@fd09::9,fd01::1/64 becomes fd01::1/64
}

@test "converge: with the first address of a subnet the kernel removes the others: those that stay, stay" {
  start_guest web
  remember web
  assert_converges 10.1.1.2/24@10.1.1.1,10.1.1.3/24 becomes 10.1.1.3/24@10.1.1.1
  assert_converges 10.1.1.2/24,10.1.1.3/24,10.1.1.4/24 becomes 10.1.1.5/24
  pw br1 web 10.1.1.2/24,10.1.1.3/24
  in_guest web ip addr add 10.1.1.77/24 dev eth1
  pw br1 web 10.5.5.5/24,10.1.1.3/24
  [[ $(addresses web) == '10.1.1.3/24 10.1.1.77/24 10.5.5.5/24' ]]
  assert_undone
}

@test "converge: another prefix for the same IPv6 address" {
  start_guest web
  remember web
  pw br1 web fd00::2/64@fd00::1,fd01::2/64
  run_pw br1 web fd00::2/48@fd00::1,fd01::2/64
  assert_exit 0
  [[ $(addresses web) == 'fd00::2/48 fd01::2/64' && $(routes web 6) == *'default via fd00::1 dev eth1'* ]]
  assert_undone
}

@test "converge: another prefix, although another link of the container answers for the address on the same bridge" {
  need arping iputils-arping
  start_guest web
  pw br1 -i eth2 web 10.2.2.2/24,fd02::2/64 --no-probe
  remember web
  local WITH=()
  assert_converges 10.1.1.2/24@10.1.1.1 becomes 10.1.1.2/16@10.1.1.1
}

@test "converge: a MAC address is set in place, and the neighbours are told" {
  start_guest web
  remember web
  assert_converges 10.1.1.2/24@10.1.1.1 26:2e:71:98:60:8f becomes 10.1.1.2/24@10.1.1.1 26:2e:71:98:60:90
}

@test "converge: without the gateway the container's own default route comes back" {
  start_guest web
  in_guest web ip link add dev eth0 type veth peer name other
  in_guest web ip addr add 172.17.0.2/16 dev eth0
  in_guest web ip link set dev other up
  in_guest web ip link set dev eth0 up
  in_guest web ip route add default via 172.17.0.1 proto static src 172.17.0.2
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1
  [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* ]]
  pw br1 web 10.1.1.2/24
  [[ $(routes web 4) == 'default via 172.17.0.1 dev eth0 proto static src 172.17.0.2'* ]]
  assert_undone
}

@test "converge: 0/0 takes addresses and routes away" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
  pw br1 web 0/0
  [[ -z $(addresses web)$(routes web 4) && $(routes web 6) != *default* ]]
  assert_json "$(link web eth1)" '.operstate == "UP"'
  run_pw br1 web 0/0
  assert_out 'nothing changed'
  assert_undone
}

@test "more addresses than the link's record has room for: the same again, converged, undone" {
  local many state
  many=$(printf 'fd00:1111:2222:3333:4444:5555:6666:%x/64,' {1..9})10.1.1.2/24@10.1.1.1
  start_guest web
  remember web
  pw br1 web "$many" --no-probe
  state=$(guest_state web)
  run_pw br1 web "$many" --no-probe
  assert_out 'nothing changed'
  assert_same_state "$state" "$(guest_state web)"
  pw br1 web "$many,10.1.1.3/24" --no-probe
  [[ $(addresses web) == '10.1.1.2/24 10.1.1.3/24 fd00:'* ]]
  pw br1 web 10.1.1.3/24
  [[ $(addresses web) == 10.1.1.3/24 ]]
  assert_undone
}

@test "converge: the link follows the bridge's MTU" {
  start_guest web
  bridge br1
  on_host ip link set dev br1 mtu 1500
  remember web
  pw br1 web 10.1.1.2/24 -l webhost
  on_host ip link set dev br1 mtu 1300
  run_pw br1 web 10.1.1.2/24 -l webhost
  assert_exit 0
  assert_json "$(link web eth1)" '.mtu == 1300'
  assert_json "$(host_link webhost)" '.mtu == 1300'
  on_host ip link set dev br1 mtu 1500
  assert_undone
}

# assert_heals COMMAND… — COMMAND, run on the host, breaks something; the same attach again mends it.
assert_heals() {
  local host guest
  host=$(host_state) guest=$(guest_state web)
  on_host "$@"
  [[ $host$guest != "$(host_state)$(guest_state web)" ]] || fail "this breaks nothing: $*"
  run_pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 26:2e:71:98:60:8f -l webhost --json
  assert_exit 0
  assert_json "$output" .changed
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$guest" "$(guest_state web)"
}

@test "what was broken by hand is mended by the same command" {
  local web
  start_guest web
  start_guest db
  pw br1 db 10.1.1.1/24
  remember web db
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 26:2e:71:98:60:8f -l webhost
  web=(nsenter --net="$(guest_net web)" ip)
  assert_heals ip link set dev webhost down
  assert_heals ip link set dev webhost nomaster
  assert_heals ip link set dev br1 down
  assert_heals "${web[@]}" link set dev eth1 down
  assert_heals "${web[@]}" link set dev eth1 mtu 1280
  assert_heals "${web[@]}" link set dev eth1 address 26:2e:71:98:60:90
  assert_heals "${web[@]}" addr del 10.1.1.2/24 dev eth1
  assert_heals "${web[@]}" addr del fd00::2/64 dev eth1
  assert_heals "${web[@]}" route del default
  assert_heals "${web[@]}" -6 route del default
  ping_from web 10.1.1.1
  assert_undone
}

@test "an address and a route that somebody else gave the link stay" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24@10.1.1.1
  in_guest web ip addr add 10.9.9.9/24 dev eth1
  in_guest web ip route add 10.8.0.0/16 via 10.9.9.1
  pw br1 web 10.1.1.3/24@10.1.1.1
  [[ $(addresses web) == '10.1.1.3/24 10.9.9.9/24' ]]
  [[ $(routes web 4) == *'10.8.0.0/16 via 10.9.9.1 dev eth1'* ]]
  assert_undone
}

# --- what needs --force ----------------------------------------------------------------------------------

@test "another bridge is refused; with --force the link moves there, and its traffic goes on" {
  local index replies
  start_guest web
  start_guest db
  bridge br2
  # A cable between the two bridges: db is reached over both.
  pw br1 db 10.1.1.3/24
  on_host ip link add dev cable1 master br1 type veth peer name cable2
  on_host ip link set dev cable2 master br2
  on_host ip link set dev cable1 up
  on_host ip link set dev cable2 up
  remember web db
  pw br1 web 10.1.1.2/24 -l webhost
  index=$(link web eth1 | jq .ifindex)
  ping_from web 10.1.1.3
  docker exec web ping -i 1 10.1.1.3 > "$BATS_TEST_TMPDIR/ping" 2>&1 < /dev/null 3>&- 4>&- &

  run_pw br2 web 10.1.1.2/24
  assert_exit 1
  assert_err "'eth1' of 'web' is on 'br1', not on 'br2'"
  assert_err 'pipework disconnect web eth1'
  assert_json "$(host_link webhost)" '.master == "br1"'
  run_pw br2 web 10.1.1.2/24 --force
  assert_exit 0
  assert_json "$(host_link webhost)" '.master == "br2" and .operstate == "UP"'
  assert_json "$(link web eth1)" ".ifindex == $index"
  replies=$(grep -c 'bytes from' "$BATS_TEST_TMPDIR/ping") || true
  wait_until 60 more_replies_than "$((replies + 1))"
  run_pw ls --json
  assert_json "$output" '.attachments[] | select(.guest.name == "web") | .hostif == "br2"'
  assert_undone
}

more_replies_than() {
  (($(grep -c 'bytes from' "$BATS_TEST_TMPDIR/ping") > $1))
}

@test "another name for the host end is refused; with --force it is renamed" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24 -l webhost
  run_pw br1 web 10.1.1.2/24 -l other
  assert_exit 1
  assert_err "'eth1' of 'web' has the host end 'webhost', not 'other'"
  assert_json "$(host_link webhost)" '.operstate == "UP"'

  run_pw br1 web 10.1.1.2/24 -l other --force
  assert_exit 0
  assert_json "$(host_link other)" '.operstate == "UP" and .master == "br1"'
  run ! on_host ip link show dev webhost
  run_pw br1 web 10.1.1.2/24
  assert_out 'nothing changed'
  assert_undone
}

@test "names that belong to something else are refused: in the container, on the host" {
  start_guest web
  start_guest db
  in_guest web ip link add dev eth1 type bridge
  on_host ip link add dev taken type bridge
  pw br1 db 10.1.1.3/24 -l dbhost
  remember web db
  run_pw br1 web 10.1.1.2/24
  assert_refused 1 "'web' already has an interface 'eth1', and pipework did not make it" 'It is a bridge' '-i eth2'
  run_pw br1 -i eth2 web 10.1.1.2/24 -l taken
  assert_refused 1 "the host already has an interface 'taken'"
  run_pw br1 -i eth2 web 10.1.1.2/24 -l dbhost
  assert_refused 1 "the host already has an interface 'dbhost'" 'eth1 in db'
}

# --- grammar, seen in what it makes ----------------------------------------------------------------------

@test "options stand in any order and place" {
  local line
  start_guest web
  remember web
  for line in \
    '-i eth7 -l webhost -a 4 --no-probe br1 web 10.1.1.2/24,fd00::2/64 U:web' \
    'br1 web 10.1.1.2/24,fd00::2/64 U:web -a inet -l webhost -i eth7 --no-probe' \
    'br1 -a 4 web -l webhost 10.1.1.2/24,fd00::2/64 --no-probe -i eth7 U:web' \
    '--no-probe br1 -i eth7 web -l webhost 10.1.1.2/24 -a inet U:web'; do
    # shellcheck disable=SC2086 # words of a command line
    run_pw $line
    assert_exit 0
    [[ $(addresses web eth7) == 10.1.1.2/24 ]]
    assert_json "$(host_link webhost)" '.master == "br1"'
    assert_undone
  done
}

@test "-a takes the addresses of its family from a mixed list" {
  local family
  start_guest web
  remember web
  for family in 4 inet 6 inet6; do
    run_pw br1 -a "$family" web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1,10.1.1.3/24 --no-probe
    assert_exit 0
    if [[ $family == *6 ]]; then
      [[ $(addresses web) == fd00::2/64 && -z $(routes web 4) ]]
      [[ $(routes web 6) == *'default via fd00::1 dev eth1'* ]]
    else
      [[ $(addresses web) == '10.1.1.2/24 10.1.1.3/24' && -z $(routes web 6) ]]
      [[ $(routes web 4) == 'default via 10.1.1.1 dev eth1'* ]]
    fi
    assert_undone
  done
  run_pw br1 -a 6 web 10.1.1.2/24
  assert_refused 2 'has no IPv6 address'
}

@test "0/0: the interface is up and has no address" {
  start_guest web
  remember web
  run_pw br1 web 0/0
  assert_exit 0
  assert_out 'without an address'
  assert_json "$(link web eth1)" '.operstate == "UP" and ([.addr_info[] | select(.scope == "global")] == [])'
  run_pw br1 web 0/0
  assert_out 'nothing changed'
  assert_undone
}

@test "subnets of one and two addresses: /31, /32, /127, /128" {
  start_guest web
  start_guest db
  remember web db
  pw br1 web 10.1.1.0/31,10.2.2.2/32,fd00::/127,fd01::1/128 --no-probe
  pw br1 db 10.1.1.1/31,fd00::1/127 --no-probe
  [[ $(addresses web) == '10.1.1.0/31 10.2.2.2/32 fd00::/127 fd01::1/128' ]]
  ping_from web 10.1.1.1
  ping_from web fd00::1
  pw disconnect db
  assert_undone web
}

@test "a dotted netmask is a prefix" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/255.255.240.0@10.1.1.1
  [[ $(addresses web) == 10.1.1.2/20 ]]
  run_pw br1 web 10.1.1.2/20@10.1.1.1
  assert_out 'nothing changed'
  assert_undone
}

@test "a gateway outside the subnet is reached by a route of its own" {
  start_guest web
  start_guest gw
  pw br1 gw 10.9.9.1/32,fd09::1/128
  in_guest gw ip route add 10.1.1.0/24 dev eth1
  in_guest gw ip route add fd00::/64 dev eth1
  remember web gw
  run_pw br1 web 10.1.1.2/24@10.9.9.1,fd00::2/64@fd09::1
  assert_exit 0
  [[ $(routes web 4) == *'default via 10.9.9.1 dev eth1'*'10.9.9.1 dev eth1 scope link'* ]]
  [[ $(routes web 6) == *'fd09::1 dev eth1 '*'default via fd09::1 dev eth1 '* ]]
  ping_from web 10.9.9.1
  ping_from web fd09::1
  run_pw br1 web 10.1.1.2/24@10.9.9.1,fd00::2/64@fd09::1
  assert_out 'nothing changed'
  assert_undone
}

@test "a /32 and a /128 with a gateway, as providers give them" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/32@10.1.1.1,fd00::2/128@fd00::1 --no-probe
  [[ $(routes web 4) == *'default via 10.1.1.1 dev eth1'*'10.1.1.1 dev eth1 scope link'* ]]
  [[ $(routes web 6) == *'fd00::1 dev eth1 '*'default via fd00::1 dev eth1 '* ]]
  assert_undone
}

@test "a link-local IPv6 gateway needs no route" {
  start_guest web
  start_guest gw
  pw br1 gw 0/0 -i lan
  in_guest gw sysctl -qw net.ipv6.conf.lan.disable_ipv6=0
  in_guest gw ip addr add fe80::1/64 dev lan nodad
  remember web gw
  run_pw br1 web fd00::2/64@fe80::1
  assert_exit 0
  [[ $(routes web 6) == *'default via fe80::1 dev eth1'* && $(routes web 6) != *'fe80::1 dev eth1'*'fe80::1 dev eth1'* ]]
  in_guest web ping -c 1 -W 20 -q fe80::1%eth1
  run_pw br1 web fd00::2/64@fe80::1
  assert_out 'nothing changed'
  assert_undone
}

@test "U:text gives the original's MAC address" {
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24 U:myhost.foo.com
  assert_json "$(link web eth1)" '.address == "02:72:6c:cd:9b:8d"'
  assert_undone
}

@test "containers named like numbers" {
  local name
  for name in 007 1e3; do
    start_guest "$name"
    remember "$name"
    run_pw br1 "$name" 10.1.1.2/24
    assert_exit 0
    assert_out "$name has eth1"
    [[ $(addresses "$name") == 10.1.1.2/24 ]]
    assert_undone "$name"
  done
}

@test "a container by its name, id, short id or id prefix, with and without docker:" {
  local id given
  start_guest web
  id=$(docker inspect --format '{{.Id}}' web)
  remember web
  pw br1 web 10.1.1.2/24
  for given in docker:web "$id" "${id:0:12}" "${id:0:6}" "docker:${id:0:12}"; do
    run_pw br1 "$given" 10.1.1.2/24
    assert_exit 0
    assert_out 'web has eth1 on br1 with 10.1.1.2/24 already; nothing changed'
  done
  for given in docker:web "$id" "${id:0:12}" "${id:0:6}"; do
    assert_undone "$given"
    pw br1 "$given" 10.1.1.2/24
  done
  assert_undone web
}

@test "DOCKER_HOST unset: the socket's usual place; and through the docker command, where only that knows the way" {
  start_guest web
  remember web
  run --separate-stderr on_host env -u DOCKER_HOST "$PIPEWORK" br1 web 10.1.1.2/24
  assert_exit 0
  [[ $(addresses web) == 10.1.1.2/24 ]]
  assert_undone
  # A context that is not the default one; DOCKER_HOST does not outrank --context's variable when it is unset.
  on_host docker --config "$BATS_TEST_TMPDIR/docker" context create far --docker host=unix:///run/docker.sock > /dev/null
  run --separate-stderr on_host env -u DOCKER_HOST DOCKER_CONFIG="$BATS_TEST_TMPDIR/docker" DOCKER_CONTEXT=far \
    "$PIPEWORK" br1 web 10.1.1.2/24
  assert_exit 0
  [[ $(addresses web) == 10.1.1.2/24 ]]
  assert_undone
}

@test "a namespace of ip netns is a guest, also without any Docker" {
  netns_guest blue
  remember blue
  run --separate-stderr on_host env DOCKER_HOST=unix:///nowhere "$PIPEWORK" br1 netns:blue 10.1.1.2/24
  assert_exit 0
  assert_out 'netns:blue has eth1'
  [[ $(addresses blue) == 10.1.1.2/24 ]]
  run_pw br1 blue 10.1.1.2/24
  assert_exit 1
  assert_err "there is no container 'blue'"
  run --separate-stderr on_host env DOCKER_HOST=unix:///nowhere "$PIPEWORK" disconnect netns:blue
  assert_exit 0
  assert_as_remembered
}

# --- names and addresses that stay -----------------------------------------------------------------------

@test "the host end has 15 bytes at most, and a name of its own for each guest and interface" {
  local ifname guest names
  start_guest web
  start_guest db
  remember web db
  for ifname in eth1 abcdefg abcdefghijklmno abcdefghijklmnp; do
    for guest in web db; do pw br1 -i "$ifname" "$guest" 0/0; done
  done
  names=$(pw ls --json | jq -r '.attachments[].hostEnd')
  [[ $(sort -u <<< "$names" | wc -l) == 8 ]]
  run ! grep -E '^.{16}' <<< "$names"
  [[ $(link web abcdefghijklmno | jq -r .ifname) == abcdefghijklmno ]]
  pw disconnect db
  assert_undone web
}

@test "after a restart the same command gives the same MAC address and host name again" {
  local mac name
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24
  mac=$(link web eth1 | jq -r .address)
  name=$(host_end web eth1)
  [[ $mac == 02:* ]]
  docker restart web > /dev/null
  run_pw br1 web 10.1.1.2/24 --json
  assert_exit 0
  assert_json "$output" .changed
  assert_json "$(link web eth1)" ".address == \"$mac\""
  [[ $(host_end web eth1) == "$name" ]]
  assert_undone
}

# --- IPv6 ------------------------------------------------------------------------------------------------

@test "where IPv6 is off, as in Docker's containers, it is allowed on this interface alone" {
  local key
  start_guest web
  in_guest web sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  remember web
  pw br1 -i eth4 web 10.1.1.2/24
  [[ $(in_guest web sysctl -n net.ipv6.conf.eth4.disable_ipv6) == 1 ]]
  pw br1 web fd00::2/64
  [[ $(in_guest web sysctl -n net.ipv6.conf.eth1.disable_ipv6) == 0 ]]
  for key in all default lo eth4; do
    [[ $(in_guest web sysctl -n "net.ipv6.conf.$key.disable_ipv6") == 1 ]]
  done
  assert_json "$(link web eth1)" '.addr_info | any(.local == "fd00::2" and (.tentative | not))'
  assert_undone
}

@test "an IPv6 address that another host has is refused, and everything is as before" {
  start_guest web
  netns_guest owner
  pw br1 netns:owner fd00::2/64
  remember web owner
  run_pw br1 web fd00::2/64@fd00::1
  assert_refused 1 "the address 'fd00::2' is taken" '--no-probe'

  # Also beside what is there already.
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::7/64@fd00::1
  remember web owner
  run_pw br1 web 10.1.1.3/24@10.1.1.1,fd00::2/64@fd00::1
  assert_refused 1 "the address 'fd00::2' is taken"

  run_pw br1 -i eth2 web fd00::2/64 --no-probe
  assert_exit 0
  [[ $(addresses web eth2) == fd00::2/64 ]]
  assert_json "$(link web eth2)" '.addr_info | any(.local == "fd00::2" and (.tentative | not) and (.dadfailed | not))'
}

# --- duplicates and announcements ------------------------------------------------------------------------

@test "an IPv4 address that another host has is refused with its MAC address, and everything is as before" {
  need arping iputils-arping
  start_guest web
  start_guest owner
  pw br1 owner 10.1.1.2/24 26:2e:71:98:60:8f
  remember web owner
  run_pw br1 web 10.1.1.2/24@10.1.1.1
  assert_refused 1 "the address '10.1.1.2' is taken: 26:2e:71:98:60:8f answers for it on 'br1'" '--no-probe'
  run_pw br1 web 10.1.1.9/24,10.1.1.2/24 --json
  assert_exit 1
  assert_json "$output" '.ok == false and .exitCode == 1 and (.error.message | contains("26:2e:71:98:60:8f"))'
  assert_as_remembered

  run_pw br1 web 10.1.1.2/24 --no-probe
  assert_exit 0
  [[ $(addresses web) == 10.1.1.2/24 ]]
  assert_undone
}

@test "a host of the LAN is asked, too" {
  need arping iputils-arping
  start_guest web
  bridge br1
  on_host ip link set dev eth0 master br1
  remember web
  run_pw br1 web 192.168.77.1/24
  assert_refused 1 "the address '192.168.77.1' is taken: 02:77:00:00:00:01"
}

@test "a probe that is stopped before it has asked, on a busy machine, is asked again" {
  need arping iputils-arping
  local bin=$BATS_TEST_TMPDIR/bin slow=$BATS_TEST_TMPDIR/slow
  mkdir "$bin"
  # shellcheck disable=SC2016 # the program that is written expands it
  printf '#!/bin/sh\n[ "$1" != -D ] || [ ! -e %s ] || { rm %s; exec sleep 60; }\nexec %s "$@"\n' "$slow" "$slow" "$(command -v arping)" > "$bin/arping"
  chmod +x "$bin/arping"
  start_guest web
  bridge br1
  on_host ip link set dev eth0 master br1
  touch "$slow"
  run --separate-stderr on_host env PATH="$bin:$PATH" "$PIPEWORK" br1 web 192.168.77.1/24
  assert_exit 1
  assert_err "the address '192.168.77.1' is taken: 02:77:00:00:00:01"
  touch "$slow"
  run_pw --dry-run br1 web 192.168.77.20/24
  run --separate-stderr on_host env PATH="$bin:$PATH" sh -c "$output"
  assert_exit 0
  [[ ! -e $slow ]]
}

@test "the kernel announces every address to the neighbours, without arping" {
  need tcpdump tcpdump
  local bin=$BATS_TEST_TMPDIR/bin program mac=26:2e:71:98:60:8f
  mkdir "$bin"
  for program in node ip sysctl nsenter env; do ln -s "$(command -v "$program")" "$bin"; done
  start_guest web
  bridge br1
  remember web
  capture br1 "$BATS_TEST_TMPDIR/packets" arp or icmp6
  run --separate-stderr on_host env PATH="$bin" "$PIPEWORK" br1 web 10.1.1.2/24,10.1.1.3/24,fd00::2/64 "$mac"
  assert_exit 0
  wait_until 30 grep -qE "$mac > ff:ff:ff:ff:ff:ff, .*ARP.* 10.1.1.2 .*tell 10.1.1.2" "$BATS_TEST_TMPDIR/packets"
  wait_until 30 grep -qE "$mac > ff:ff:ff:ff:ff:ff, .*ARP.* 10.1.1.3 .*tell 10.1.1.3" "$BATS_TEST_TMPDIR/packets"
  wait_until 30 grep -qE "$mac > 33:33:00:00:00:01, .*neighbor advertisement, tgt is fd00::2" "$BATS_TEST_TMPDIR/packets"
  stop_capture
  assert_undone
}

@test "a neighbour that remembers another MAC address for ours learns the new one" {
  start_guest web
  start_guest db
  pw br1 db 10.1.1.3/24,fd00::3/64
  in_guest db ip neigh replace 10.1.1.2 lladdr 26:2e:71:98:60:11 dev eth1 nud stale
  in_guest db ip neigh replace fd00::2 lladdr 26:2e:71:98:60:11 dev eth1 nud stale
  remember web
  pw br1 web 10.1.1.2/24,fd00::2/64 26:2e:71:98:60:8f
  wait_until 30 knows db 10.1.1.2 26:2e:71:98:60:8f
  wait_until 30 knows db fd00::2 26:2e:71:98:60:8f
  pw br1 web 10.1.1.2/24,fd00::2/64 26:2e:71:98:60:90
  wait_until 30 knows db 10.1.1.2 26:2e:71:98:60:90
  wait_until 30 knows db fd00::2 26:2e:71:98:60:90
  assert_undone
}

# knows GUEST ADDRESS MAC — its neighbour table has it so.
knows() {
  [[ $(in_guest "$1" ip neigh show "$2" dev eth1) == *"lladdr $3 "* ]]
}

# --- the bridge ------------------------------------------------------------------------------------------

@test "a new bridge is up, has no STP, and a MAC address that stays as ports come and go" {
  local mac
  start_guest web
  start_guest db
  remember web db
  pw br1 web 10.1.1.2/24 -l webhost
  assert_json "$(host_link br1)" '(.flags | index("UP")) and .linkinfo.info_data.stp_state == 0 and .mtu == 1500'
  [[ $(on_host cat /sys/class/net/br1/addr_assign_type) == 3 ]]
  mac=$(host_link br1 | jq -r .address)
  [[ $mac == 02:* ]]

  # A bridge left to itself takes the lowest address of its ports.
  pw br1 db 10.1.1.3/24 -l dbhost
  on_host ip link set dev dbhost address 02:00:00:00:00:01
  assert_json "$(host_link br1)" ".address == \"$mac\""
  pw disconnect db
  assert_json "$(host_link br1)" ".address == \"$mac\""
  assert_undone

  # The same again after its removal: peers that remember it are right.
  pw br1 web 10.1.1.2/24
  assert_json "$(host_link br1)" ".address == \"$mac\""
  assert_undone
}

@test "a bridge that is there is used whatever its name, brought up when it is down, and stays" {
  start_guest web
  on_host ip link add dev lan-x address 02:00:00:00:00:77 type bridge stp_state 0
  remember web
  run_pw lan-x web 10.1.1.2/24
  assert_exit 0
  assert_json "$(host_link lan-x)" '(.flags | index("UP")) and .address == "02:00:00:00:00:77" and .ifalias == null'
  [[ $(addresses web) == 10.1.1.2/24 ]]
  pw disconnect web
  on_host ip link set dev lan-x down
  assert_as_remembered
}

@test "no bridge: a name that is none, the host end of a container's link, Docker's own" {
  start_guest web
  start_guest db
  pw br1 db 10.1.1.3/24 -l dbhost
  bridge docker0
  remember web
  run_pw lan1 web 10.1.1.2/24
  assert_refused 1 "there is no interface 'lan1'" 'begins with br'
  run_pw dbhost web 10.1.1.2/24
  assert_refused 1 "'dbhost'"
  run_pw docker0 web 10.1.1.2/24
  assert_refused 1 "the bridge 'docker0' is Docker's own" '--force'

  run_pw docker0 web 10.1.1.2/24 --force
  assert_exit 0
  assert_undone
}

@test "where the kernel has no vlan_filtering, a VLAN on a Linux bridge is refused before anything is made" {
  start_guest web
  remember web
  run_pw br1 web 10.1.1.2/24 @10
  assert_refused 1 'VLAN'
  run_pw br1 web 10.1.1.2/24 26:2e:71:98:60:8f@10
  assert_refused 1 'VLAN'
}

# --- waiting, talking ------------------------------------------------------------------------------------

@test "--wait-guest waits for a container that starts later; in vain, it exits 124" {
  local before
  before=$(host_state)
  start_pw --wait-guest 60 br1 web 10.1.1.2/24
  sleep 1
  start_guest web
  wait_pw
  assert_exit 0
  assert_out 'web has eth1'
  [[ $(addresses web) == 10.1.1.2/24 ]]
  run_pw disconnect web
  assert_exit 0

  stop_guest web
  run_pw --wait-guest 0.3 br1 web 10.1.1.2/24
  assert_exit 124
  assert_err 'timed out after 0.3 s'
  assert_err "the container 'web' is not running"
  run_pw --wait-guest 0.3 br1 nobody 10.1.1.2/24 --json
  assert_exit 124
  assert_json "$output" '.ok == false and .exitCode == 124'
  assert_same_state "$before" "$(host_state)"
}

@test "--verbose prints the commands on stderr, -q prints nothing, results go to stdout" {
  start_guest web
  remember web
  run_pw --verbose br1 web 10.1.1.2/24@10.1.1.1
  assert_exit 0
  assert_out 'web has eth1 on br1'
  assert_err '# create the bridge br1'
  assert_err 'ip link add dev br1 '
  # shellcheck disable=SC2016 # a word of the transcript
  assert_err 'ip -n "$netns" route replace default via 10.1.1.1 dev eth1'
  [[ $output != *'ip link'* ]]
  run_pw --verbose disconnect web
  assert_exit 0
  assert_err 'ip link del dev '
  assert_as_remembered

  run_pw -q br1 web 10.1.1.2/24
  assert_exit 0
  [[ -z $output$stderr && $(addresses web) == 10.1.1.2/24 ]]
  run_pw --quiet br1 web 10.1.1.2/24
  [[ $status == 0 && -z $output$stderr ]]
  run_pw -q disconnect web
  [[ $status == 0 && -z $output$stderr ]]
  assert_as_remembered
}

@test "after -- the first word is an interface, even if it is a command's name" {
  start_guest web
  bridge ls
  remember web
  run_pw -- ls web 10.1.1.2/24
  assert_exit 0
  assert_out 'web has eth1 on ls'
  assert_undone
}
