#!/usr/bin/env bats
# ptp and routed:<NIC>: a link that leads to this host alone, which sends on what the guest sends.

# shellcheck disable=SC2016,SC2030,SC2031,SC2054,SC2153,SC2154 # lists of words with commas; shell for the host; status, output and stderr are set by run_pw
load rig
load promise
load outside

setup() { outside_guest; }

teardown() {
  clean_outside
  clean_host
}

@test "ptp: the host is the gateway, with NAT the guest reaches the outside, and nothing is left" {
  local words=(--no-probe --nat ptp netns:web 192.168.45.3/24@192.168.45.2,fd45::3/64@fd45::2)
  remember_outside
  serve 7000 on_lan
  run_pw "${words[@]}"
  assert_exit 0
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  [[ $(ask 'TCP6:[fd77::1]:7000' in_guest web) == *fd77:0000:0000:0000:0000:0000:0000:0010* ]]
  in_guest web ping -c 1 -W 5 192.168.45.2
  on_host ping -c 1 -W 5 192.168.45.3
  on_host ping -c 1 -W 5 fd45::3
  run_pw "${words[@]}"
  assert_out "nothing changed"
  # another gateway: converged in place, the old one gone
  pw --no-probe --nat ptp netns:web 192.168.45.3/24@192.168.45.9,fd45::3/64@fd45::2
  in_guest web ping -c 1 -W 5 192.168.45.9
  assert_json "$(on_host ip -j addr show)" '[.[].addr_info[].local] | index("192.168.45.2") == null'
  stop_servers
  pw disconnect netns:web
  assert_outside_as_remembered
}

@test "ptp without a gateway in the words has one all the same; two guests reach each other through the host" {
  netns_guest db
  on_host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  on_host sysctl -qw net.ipv4.conf.all.rp_filter=1
  remember_outside
  run_pw --no-probe ptp netns:web 10.9.0.2/24,fd09::2/128
  assert_out "(gateway 169.254.1.1)"
  assert_out "(gateway fe80::1)"
  pw --no-probe ptp netns:db 10.9.0.3/24,fd09::3/128
  run_pw --no-probe ptp netns:db 10.9.0.3/24,fd09::3/128
  assert_out "nothing changed"
  # in one subnet, and no LAN that they share: the host answers for the other
  in_guest web ping -c 1 -W 5 10.9.0.3
  in_guest web ping -c 1 -W 5 fd09::3
  in_guest db ping -c 1 -W 5 192.168.77.10
  pw disconnect netns:web
  pw disconnect netns:db
  assert_outside_as_remembered
  on_host sysctl -qw net.ipv4.conf.all.rp_filter=0
}

@test "routed: an address of the LAN without a MAC address on it, both families, under strict rp_filter" {
  local words=(routed:eth0 netns:web 192.168.77.60/32,fd77::60/128)
  on_host sysctl -qw net.ipv4.conf.all.rp_filter=1
  remember_outside
  run_pw "${words[@]}"
  assert_exit 0
  serve 7000 in_guest web
  serve 7001 on_lan
  # the LAN reaches the guest by its address, and sees the guest's own
  [[ -n $(ask TCP4:192.168.77.60:7000 on_lan) ]]
  [[ -n $(ask 'TCP6:[fd77::60]:7000' on_lan) ]]
  [[ $(ask TCP4:192.168.77.1:7001 in_guest web) == 192.168.77.60 ]]
  [[ $(ask 'TCP6:[fd77::1]:7001' in_guest web) == *:0060* ]]
  # with the NIC's own MAC address
  assert_json "$(on_lan ip -j neigh show 192.168.77.60)" '.[0].lladdr == "02:77:00:00:00:10"'
  # and the host answers for no other address of the LAN
  run ! on_lan arping -c 1 -w 1 -I lan0 192.168.77.61
  # somebody's table drops it, either way: said, and mended by the command that is said
  on_host nft -f - <<< 'table inet fw { chain forward { type filter hook forward priority 0; policy drop; }; }'
  run_pw "${words[@]}"
  assert_out "nothing changed"
  assert_err 'policy DROP of chain forward, table inet fw of nftables'
  no_answer TCP4:192.168.77.60:7000 on_lan
  on_host sh -c "$(sed -n 's/^pipework: warning: .*; fix: //p' <<< "$stderr")"
  [[ -n $(ask TCP4:192.168.77.60:7000 on_lan) ]]
  [[ $(ask 'TCP6:[fd77::1]:7001' in_guest web) == *:0060* ]]
  run_pw "${words[@]}"
  assert_out "nothing changed"
  [[ -z $stderr ]] || fail "still warns: $stderr"
  on_host nft delete table inet fw
  stop_servers
  pw disconnect netns:web
  on_lan ip neigh flush dev lan0
  assert_outside_as_remembered
  # taken on the LAN already: refused
  on_lan ip addr add 192.168.77.66/24 dev lan0
  run_pw routed:eth0 netns:web 192.168.77.66/32
  assert_exit 1
  assert_err "the address '192.168.77.66' is taken"
  assert_outside_as_remembered
  on_host sysctl -qw net.ipv4.conf.all.rp_filter=0
}

@test "refused before the first change" {
  remember web
  remember_outside
  refused() {
    local code=$1 message=$2
    shift 2
    run_pw "$@"
    assert_refused "$code" "$message"
  }
  refused 1 "there is no interface 'eth9'" routed:eth9 netns:web 192.168.77.60/32
  refused 1 "is an address of this host, on 'eth0'" routed:eth0 netns:web 192.168.77.10/32
  refused 1 "'192.168.77.1' is the address of a router of this host" ptp netns:web 192.168.77.1/24
  refused 1 "nothing but this host is at the other end" ptp netns:web 10.9.0.2/32 @10
  refused 1 "it is to have none" ptp netns:web 0/0
  refused 1 "is seen there with it" routed:eth0 --nat netns:web 192.168.77.60/32
  refused 1 "is no bridge" ptp --bridge-address 10.0.0.1/24 netns:web 10.9.0.2/32
  refused 2 "cannot be the name of the NIC" routed: netns:web 10.9.0.2/32
  assert_outside_as_remembered
  # an address that another guest has
  netns_guest db
  pw --no-probe ptp netns:db 10.9.0.2/32
  local before
  before=$(outside_state)
  run_pw --no-probe ptp netns:web 10.9.0.2/32
  assert_exit 1
  assert_err "the host already has a route to '10.9.0.2'"
  assert_same_state "$before" "$(outside_state)"
}

@test "from a bridge to ptp and back, with --force" {
  remember_outside
  pw --no-probe br1 --bridge-address 10.9.0.1/24 --nat netns:web 10.9.0.2/24@10.9.0.1
  run_pw --no-probe ptp netns:web 10.9.0.2/32
  assert_exit 1
  assert_err "--force"
  pw --no-probe --force ptp netns:web 10.9.0.2/32
  in_guest web ping -c 1 -W 5 169.254.1.1
  pw --no-probe --force br1 --bridge-address 10.9.0.1/24 --nat netns:web 10.9.0.2/24@10.9.0.1
  in_guest web ping -c 1 -W 5 10.9.0.1
  pw disconnect netns:web
  assert_outside_as_remembered
}

@test "undone after every step, there and back; mended after kill -9 at every step; the same as a script" {
  local words=(--no-probe routed:eth0 netns:web 192.168.77.60/32,fd77::60/128)
  undone_and_back 0 "${words[@]}"
  mended_and_gone 1 "${words[@]}"
  pw --dry-run "${words[@]}" > "$BATS_TEST_TMPDIR/script"
  on_host sh "$BATS_TEST_TMPDIR/script"
  assert_same_state "$WHOLE" "$(outside_state | settled)"
  pw --dry-run disconnect netns:web > "$BATS_TEST_TMPDIR/script"
  on_host sh "$BATS_TEST_TMPDIR/script"
  assert_same_state "$BEFORE" "$(outside_state)"
}
