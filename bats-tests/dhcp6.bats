#!/usr/bin/env bats
# IPv6 addresses by DHCPv6 and by what a router advertises.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own
load rig
load promise
load dhcp

setup() {
  dhcp_setup
  on_lan ip addr add fd77::1/64 dev lan0 nodad
}

teardown() {
  on_lan ip addr del fd77::1/64 dev lan0
  dhcp_teardown
}

@test "slaac: address and default route of the router's advertisement; beside DHCP; gone with disconnect" {
  start_guest web
  lan_bridge
  # the host itself listens to no router
  on_host sysctl -qw net.ipv6.conf.br1.accept_ra=0
  remember web
  run_pw --dhcp-timeout 2 br1 web slaac
  assert_refused 1 "no address by router advertisement on 'br1' within 2 s"
  RANGE=fd77::,ra-only,64,2m serve_dhcp --enable-ra --dhcp-range=192.168.77.100,192.168.77.150,255.255.255.0,2m
  run_pw br1 web dhcp,slaac
  assert_exit 0
  [[ $(addresses web) == 192.168.77.1*/24\ fd77::*/64 ]]
  assert_json "$(in_guest web ip -6 -j route show default)" '.[0] | .protocol == "ra" and .dev == "eth1"'
  run_pw br1 web dhcp,slaac
  assert_exit 0
  assert_out 'nothing changed'
  assert_json "$(pw ls --json)" '.attachments[0].sources == ["dhcp", "slaac"]'
  run_pw --no-default-route br1 web dhcp,slaac
  assert_exit 0
  assert_undone
}

# six CLIENT WORD — a lease of DHCPv6 from beginning to end.
six() {
  run_pw br1 web "$2"
  assert_exit 0
  [[ $(addresses web) == fd77::1*/128 ]]
  assert_json "$(lease_of web)" ".client == \"$1\" and .family == 6 and .state == \"kept\""
  run_pw br1 web "$2"
  assert_out 'nothing changed'
  docker kill web > /dev/null
  wait_until 10 no_clients
  docker start web > /dev/null
  run_pw br1 web "$2"
  assert_exit 0
  assert_given_back
  no_clients
  # and by somebody who stands in for it
  run_pw br1 web "$2"
  docker stop web > /dev/null
  wait_until 10 no_clients
  assert_given_back
  docker start web > /dev/null
}

# without_dhclient ARG… — pipework with dhclient out of sight.
without_dhclient() {
  local path=$BATS_TEST_TMPDIR/path
  if mkdir "$path" 2> /dev/null; then
    find /usr/local/bin /usr/bin /usr/sbin /bin /sbin -maxdepth 1 -executable ! -name 'dhclient*' -exec ln -sf -t "$path" {} +
  fi
  on_host env PATH="$path" "$PIPEWORK" "$@"
}

# assert_given_back — disconnect gives the lease of web back, and the server has heard of it.
assert_given_back() {
  local before ip
  before=$(count_served DHCPRELEASE)
  run_pw disconnect web
  assert_exit 0
  assert_out 'to the DHCPv6 server'
  ip=$(sed -n 's/^  release \(.*\) to .*/\1/p' <<< "$output")
  wait_until 10 test_count DHCPRELEASE "$((before + 1))"
  # What is not its own it would have given back in vain.
  wait_until 10 is_free "$ip"
  [[ -z $(on_host ls /run/pipework/dhcp) && -z $(on_host ls /run/netns) ]]
}

# is_free ADDRESS — the server has given it to nobody.
is_free() {
  ! grep -q " $1 " "$BATS_TEST_TMPDIR/leases"
}

@test "dhcp6: a lease, the same again, the container's end, given back with it and without" {
  start_guest web
  lan_bridge
  on_host sysctl -qw net.ipv6.conf.br1.accept_ra=0
  RANGE=fd77::100,fd77::1ff,64,2m serve_dhcp --enable-ra
  six dhclient dhcp6
  without_dhclient br1 web dhcp6
  assert_json "$(lease_of web)" '.client == "dhcpcd" and .family == 6 and .state == "kept"'
  assert_given_back
  without_dhclient br1 web dhcp6
  docker stop web > /dev/null
  wait_until 10 no_clients
  assert_given_back
  docker rm --force web > /dev/null
  wait_until 10 no_clients
}

# renewed_past ADDRESS — it has been renewed when the ten seconds of the first lease were over.
renewed_past() {
  (($(grep -cE "(RENEW|REBIND) $1\$" "$DHCP_LOG") >= 3))
}

@test "dhcp6: renewed for longer than the lease lasts, by each client, and the address is never gone" {
  local client monitors=()
  for client in dhclient dhcpcd; do netns_guest "for-$client"; done
  lan_bridge
  on_host sysctl -qw net.ipv6.conf.br1.accept_ra=0
  remember for-dhclient for-dhcpcd
  serve_oddly short dhcp6-server
  pw br1 netns:for-dhclient dhcp6
  without_dhclient br1 netns:for-dhcpcd dhcp6
  for client in dhclient dhcpcd; do
    on_host_exec nsenter --net="/run/netns/for-$client" ip -6 monitor address > "$BATS_TEST_TMPDIR/$client" 3>&- 4>&- &
    monitors+=("$!")
  done
  wait_until 60 renewed_past fd77::100
  wait_until 60 renewed_past fd77::101
  kill "${monitors[@]}"
  [[ $(addresses for-dhclient) == fd77::100/128 && $(addresses for-dhcpcd) == fd77::101/128 ]]
  assert_json "$(lease_of for-dhclient)" '.client == "dhclient" and .state == "kept"'
  assert_json "$(lease_of for-dhcpcd)" '.client == "dhcpcd" and .state == "kept"'
  ! grep -h '^Deleted.*fd77' "$BATS_TEST_TMPDIR"/dhc* || fail 'it was gone for a while'
  for client in dhclient dhcpcd; do pw disconnect "netns:for-$client"; done
  test_count RELEASE 2
  no_clients
  assert_as_remembered
}
