#!/usr/bin/env bats
# Addresses by DHCP, with each client, from real servers.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own
load rig
load promise
load dhcp

setup() { dhcp_setup; }
teardown() { dhcp_teardown; }

# keeps_lease CLIENT [WORD] — the whole life of a lease with this client.
keeps_lease() {
  local client=$1 word=${2-$1} before
  need "$client" "$client"
  guard_resolv_conf
  start_guest web
  lan_bridge
  remember web
  RANGE=192.168.77.100,192.168.77.150,255.255.255.0,2m serve_dhcp --dhcp-option=3,192.168.77.1 \
    --dhcp-option=6,192.168.77.1 --dhcp-option=15,lan.test --dhcp-option=121,10.50.0.0/16,192.168.77.9,0.0.0.0/0,192.168.77.1
  run_pw --json br1 web "$word"
  assert_exit 0
  assert_json "$output" ".ok and .changed and .attachment.leases[0] == (.attachment.leases[0] + {client: \"$client\", server: \"192.168.77.1\", state: \"kept\"})"
  assert_json "$(link web eth1)" '.addr_info[0] | .broadcast == "192.168.77.255" and .prefixlen == 24 and .valid_life_time > 60'
  assert_json "$(in_guest web ip -j route)" 'map(select(.dst == "default" and .gateway == "192.168.77.1")) | length == 1'
  assert_json "$(in_guest web ip -j route)" 'map(select(.dst == "10.50.0.0/16" and .gateway == "192.168.77.9")) | length == 1'
  ping_from web 192.168.77.1
  served 'client provides name: web'
  before=$(addresses web)

  run_pw br1 web "$word"
  assert_exit 0
  assert_out 'nothing changed'
  (($(count_served DHCPACK) == 1))

  # It is the keeper's work that the client comes back, and the lease with it.
  kill -KILL "$(pid_of pid)"
  wait_until 30 test_count DHCPACK 2
  [[ $(addresses web) == "$before" ]]
  wait_until 30 test "$(lease_of web | jq -r .state)" = kept

  run_pw disconnect web
  assert_exit 0
  assert_out "give ${before%/*} back"
  wait_until 10 served DHCPRELEASE "${before%/*}"
  no_clients
  assert_as_remembered
  run on_host ls /run/pipework/dhcp
  [[ -z $output ]]
  assert_resolv_conf
}

test_count() {
  (($(count_served "$1") >= $2))
}

@test "udhcpc: lease, routes, hostname; the same again; killed and back; given back by disconnect" {
  keeps_lease udhcpc
}

@test "dhclient: the same" {
  keeps_lease dhclient dhclient-f
}

@test "dhcpcd: the same" {
  keeps_lease dhcpcd
}
