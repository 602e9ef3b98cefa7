#!/usr/bin/env bats
# --bridge-address and --nat: a bridge on which this host is the router. The LAN at the other end of eth0 is the outside.

# shellcheck disable=SC2016,SC2030,SC2031,SC2054,SC2154 # lists of words with commas; shell for the host; status, output and stderr are set by run_pw
load rig
load promise
load outside

BOTH=(--bridge-address 10.0.0.1/24,fd00:1::1/64 --nat netns:web 10.0.0.2/24@10.0.0.1,fd00:1::2/64@fd00:1::1)

setup() { outside_guest; }

teardown() {
  clean_outside
  clean_host
}

# seen_as_host — what web sends to the LAN comes from the host's own addresses there.
seen_as_host() {
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  [[ $(ask 'TCP6:[fd77::1]:7000' in_guest web) == *fd77:0000:0000:0000:0000:0000:0000:0010* ]]
}

lan_serves() {
  serve 7000 on_lan
  serve 7001 on_host
}

reaches_the_outside() {
  remember_outside
  lan_serves
  run_pw --no-probe br1 "${BOTH[@]}"
  assert_exit 0
  seen_as_host
  # the host sees the guest itself
  [[ $(ask TCP4:10.0.0.1:7001 in_guest web) == 10.0.0.2 ]]
  run_pw br1 "${BOTH[@]}"
  assert_exit 0
  assert_out "nothing changed"
  run_pw ls --json
  assert_json "$output" '.attachments[0] | has("missing") | not'
  assert_undone_outside
}

assert_undone_outside() {
  run_pw disconnect netns:web
  assert_exit 0
  assert_outside_as_remembered
}

@test "nftables: the guest reaches the outside with the host's addresses, twice is once, and disconnect leaves nothing" {
  reaches_the_outside
}

@test "iptables-legacy, without nft: the same" {
  use_legacy
  # The tables come with the first look at them, and stay.
  on_host sh -c 'for i in iptables ip6tables; do for t in raw filter nat; do $i -t $t -S; done; done' > /dev/null
  reaches_the_outside
  # and what is forwarded is let through
  on_host iptables -P FORWARD DROP
  on_host ip6tables -P FORWARD DROP
  lan_serves
  run_pw --no-probe br1 "${BOTH[@]}"
  assert_exit 0
  [[ -z $stderr ]] || fail "warns of what its own rules accept: $stderr"
  seen_as_host
}

@test "nft lists rules and cannot write them: iptables is used" {
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\ncase "$*" in *-f*) exit 1 ;; esac\nexec %s "$@"\n' "$(command -v nft)" > "$BATS_TEST_TMPDIR/bin/nft"
  chmod +x "$BATS_TEST_TMPDIR/bin/nft"
  lan_serves
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run_pw --no-probe br1 "${BOTH[@]}"
  assert_exit 0
  on_host iptables-save | grep -q PIPEWORK-MASQ
  seen_as_host
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run_pw --no-probe br1 "${BOTH[@]}"
  assert_out 'nothing changed'
  PATH=$BATS_TEST_TMPDIR/bin:$PATH pw disconnect netns:web
  run ! on_host sh -c 'iptables-save | grep -i pipework'
}

@test "a dry run prints a script that does the same" {
  remember_outside
  pw --no-probe br1 "${BOTH[@]}"
  outside_state > "$BATS_TEST_TMPDIR/by-us"
  pw --dry-run disconnect netns:web > "$BATS_TEST_TMPDIR/away"
  on_host sh "$BATS_TEST_TMPDIR/away"
  assert_outside_as_remembered
  pw --dry-run --no-probe br1 "${BOTH[@]}" > "$BATS_TEST_TMPDIR/again"
  on_host sh "$BATS_TEST_TMPDIR/again"
  # the kernel draws the address of the host's end
  diff <(grep -v '"mac"' "$BATS_TEST_TMPDIR/by-us") <(outside_state | grep -v '"mac"')
}

@test "--nat=eth0: only by that interface; it is refused where there is none of that name" {
  on_host ip link add dev other type bridge
  on_host ip addr add 192.168.99.1/24 dev other
  on_host ip link set dev other up
  remember web
  run_pw br1 --bridge-address 10.0.0.1/24 --nat=nowhere netns:web 10.0.0.2/24@10.0.0.1
  assert_refused 1 "--nat 'nowhere': there is no such interface"
  lan_serves
  pw --no-probe br1 --bridge-address 10.0.0.1/24 --nat=eth0 netns:web 10.0.0.2/24@10.0.0.1
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  on_host nft list table inet pipework | grep -F 'oifname "eth0" ip saddr 10.0.0.0/24 masquerade'
  # another way out: the same command without it converges
  pw --no-probe br1 --bridge-address 10.0.0.1/24 --nat netns:web 10.0.0.2/24@10.0.0.1
  run ! on_host nft list table inet pipework '|' grep -F 'oifname "eth0"'
  on_host nft list table inet pipework | grep -F 'oifname != "br1" ip saddr 10.0.0.0/24 masquerade'
}

@test "what two share goes with the second, and what others have set stays" {
  netns_guest db
  on_host ip link add dev br1 type bridge
  on_host ip addr add 10.0.0.1/24 dev br1
  on_host ip link set dev br1 up
  on_host sysctl -qw net.ipv4.ip_forward=1
  remember_outside
  pw --no-probe br1 --bridge-address 10.0.0.1/24,10.0.1.1/24 --nat netns:web 10.0.0.2/24@10.0.0.1
  pw --no-probe br1 --nat netns:db 10.0.0.3/24@10.0.0.1
  pw disconnect netns:web
  # the second address was for web only
  assert_json "$(on_host ip -j addr show dev br1)" '[.[0].addr_info[] | select(.family == "inet") | .local] == ["10.0.0.1"]'
  lan_serves
  [[ $(ask TCP4:192.168.77.1:7000 in_guest db) == 192.168.77.10 ]]
  pw disconnect netns:db
  stop_servers
  assert_outside_as_remembered
  [[ $(on_host sysctl -n net.ipv4.ip_forward) == 1 ]]
}

# bridge_addresses NAME — its IPv4 addresses, and whether it promotes secondary ones.
bridge_addresses() {
  echo "$(on_host ip -4 -j addr show dev "$1" | jq -r '[.[].addr_info[]?.local] | sort | join(" ")')" \
    "$(on_host sysctl -n "net.ipv4.conf.$1.promote_secondaries")"
}

@test "the address of the bridge stays for whom it is the gateway, whoever asked for it" {
  local words steps n
  netns_guest db
  remember_outside
  pw -q --no-probe br1 --bridge-address 10.0.0.1/24 --nat netns:web 10.0.0.2/24@10.0.0.1
  run_pw br1 --nat netns:db 10.0.0.3/24
  assert_exit 1
  assert_err 'Give it one, which the host is to be: IP/PREFIX@10.0.0.1'
  pw -q --no-probe br1 --nat --publish 8080:80 netns:db 10.0.0.3/24@10.0.0.1
  pw -q disconnect netns:web
  serve 7000 on_lan
  [[ $(ask TCP4:192.168.77.1:7000 in_guest db) == 192.168.77.10 ]]
  run_pw br1 --nat --publish 8080:80 netns:db 10.0.0.3/24@10.0.0.1
  assert_exit 0
  assert_out 'nothing changed'
  # Of two addresses in one subnet the kernel would take the second along when the first goes.
  on_host sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.br1.promote_secondaries=0
  pw -q --no-probe br1 --bridge-address 10.0.0.254/24 netns:web 10.0.0.2/24@10.0.0.254
  words=(--no-probe br1 --bridge-address 10.0.0.253/24 --nat --publish 8080:80 netns:db 10.0.0.3/24@10.0.0.253)
  steps=$(pw --dry-run --json "${words[@]}" | jq '.steps | length')
  for n in $(steps_of 0 "$((steps + 1))"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "${words[@]}"
    [[ $(bridge_addresses br1) == "10.0.0.$((n < steps ? 1 : 253)) 10.0.0.254 0" ]] || fail "after step $n: $(bridge_addresses br1)"
  done
  pw -q br1 --nat --publish 8080:80 --bridge-address 10.0.0.1/24 netns:db 10.0.0.3/24@10.0.0.1
  pw -q disconnect netns:web
  # and for one who asks for no more than a gateway
  pw -q --no-probe br1 netns:web 10.0.0.2/24@10.0.0.1
  pw -q disconnect netns:db
  in_guest web ping -c 1 -w 10 -q 10.0.0.1 > /dev/null
  stop_servers
  assert_undone_outside
}

@test "what somebody flushes is reported by ls, and the same command mends it" {
  remember_outside
  pw --no-probe br1 "${BOTH[@]}"
  outside_state > "$BATS_TEST_TMPDIR/whole"
  on_host nft flush ruleset
  on_host sysctl -qw net.ipv4.ip_forward=0
  on_host ip addr del 10.0.0.1/24 dev br1
  run_pw ls
  assert_out "missing on this host: 10.0.0.1/24 on br1"
  assert_out "run the same command again"
  run_pw ls --json
  assert_json "$output" '.attachments[0].missing | length == 4 and any(test("masquerade4")) and any(test("ip_forward=1"))'
  pw --no-probe br1 "${BOTH[@]}"
  assert_same_state "$(sort "$BATS_TEST_TMPDIR/whole")" "$(outside_state | sort)"
  assert_undone_outside
}

# barred WHERE — the last run warned that the host's own traffic for br1 is dropped there, and ls and inspect say so too.
barred() {
  # where bridges' frames meet the firewall, those too
  assert_err "drops IPv4 and IPv6 from 'br1' to 'eth0'"
  assert_err ": $1"
  run_pw ls
  assert_out "web eth1: the firewall of this host drops IPv4 and IPv6 from 'br1' to 'eth0': $1"
  run_pw inspect netns:web
  assert_out "from 'br1' to 'eth0': $1"
  run_pw doctor br1 --json
  MEND=$(jq -er '.findings[] | select(.id == "firewall-drop" and (.line | endswith("to '"'eth0'"'"))).command' <<< "$output")
}

# passes — what was dropped got mended by MEND, and nobody speaks of it any more.
passes() {
  no_answer TCP4:192.168.77.1:7000 in_guest web
  no_answer TCP4:192.168.77.10:8080 on_lan
  on_host sh -c "$MEND"
  seen_as_host
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  [[ $(ask 'TCP6:[fd77::10]:8080' on_lan) == *fd77:0000:0000:0000:0000:0000:0000:0001* ]]
  # as narrow as it can be: nobody outside begins a connection
  on_lan ip route add 10.0.0.0/24 via 192.168.77.10
  no_answer TCP4:10.0.0.2:81 on_lan
  run_pw br1 "${BOTH[@]}" --publish 8080:80
  assert_exit 0
  [[ $stderr != *eth0* ]] || fail "still warns: $stderr"
  run_pw ls
  [[ $output != *drops* ]] || fail "still says: $output"
}

@test "somebody's table drops what is forwarded: said with the command that mends it; --strict refuses it" {
  local drop='table inet filter { chain forward { type filter hook forward priority 0; policy drop; }; }'
  lan_serves
  serve 80 in_guest web
  serve 81 in_guest web
  on_host nft -f - <<< "$drop"
  remember web
  remember_outside
  run_pw --strict --no-probe br1 "${BOTH[@]}" --publish 8080:80
  assert_refused 1 "drops IPv4 and IPv6 from 'br1' to 'eth0'" ': policy DROP of chain forward, table inet filter of nftables' 'Let it pass: nft insert rule inet filter forward'
  assert_outside_as_remembered
  run_pw --no-probe br1 "${BOTH[@]}" --publish 8080:80
  assert_exit 0
  barred 'policy DROP of chain forward, table inet filter of nftables'
  passes
}

@test "the other kind of iptables drops what is forwarded: the same" {
  need iptables-legacy iptables
  lan_serves
  serve 80 in_guest web
  serve 81 in_guest web
  on_host sh -c 'for i in iptables ip6tables; do $i-legacy -P FORWARD DROP; done'
  run_pw --no-probe br1 "${BOTH[@]}" --publish 8080:80
  assert_exit 0
  barred 'policy DROP of chain FORWARD, table filter of iptables-legacy'
  passes
}

@test "the guest has ended: the next disconnect, or the next who asks for the like, takes away what is left" {
  remember_outside
  pw --no-probe br1 "${BOTH[@]}"
  on_host ip netns del web
  wait_until 20 no_ports br1
  run_pw disconnect netns:web
  assert_exit 0
  on_host ip link del dev br1
  assert_outside_as_remembered
}

no_ports() {
  [[ -z $(on_host ls "/sys/class/net/$1/brif") ]]
}

@test "refused before the first change" {
  netns_guest db
  remember web
  remember_outside
  refused() {
    local code=$1 message=$2
    shift 2
    run_pw "$@"
    assert_refused "$code" "$message"
  }
  refused 1 "overlaps with 192.168.77.10/24 on 'eth0'" br1 --bridge-address 192.168.77.200/25 netns:web 10.0.0.2/24
  refused 1 "is not an address of this host on 'br1'" br1 --nat netns:web 10.0.0.2/24@10.0.0.9
  refused 1 "the guest has no gateway" br1 --bridge-address 10.0.0.1/24 --nat netns:web 10.0.0.2/24
  refused 1 "does not pass through this host" eth0 --nat netns:web 192.168.77.50/24@192.168.77.1
  refused 1 "is no bridge" eth0 --bridge-address 10.0.0.1/24 netns:web 192.168.77.50/24
  refused 1 "the guest is to have that address" br1 --bridge-address 10.0.0.2/24 netns:web 10.0.0.2/24
  refused 2 "takes no gateway" br1 --bridge-address 10.0.0.1/24@10.0.0.9 netns:web 10.0.0.2/24
  refused 2 "the guest gets no address" br1 --nat netns:web 0/0
  on_host ip link add br9 type bridge
  on_host ip -batch - <<< $'addr add 192.168.99.10/24 dev br9\nlink set dev br9 up\nroute add 10.99.0.0/16 via 192.168.99.1'
  remember web
  refused 1 'is the address of a router of this host' br9 --bridge-address 192.168.99.1/24 netns:web 192.168.99.2/24@192.168.99.1
  on_host ip link del dev br9
  remember web
  refused 1 "would be a pattern" 'br+' --bridge-address 10.0.0.1/24 netns:web 10.0.0.2/24
  assert_outside_as_remembered
}

@test "undone after every step, mended after kill -9 at every step" {
  # Else the kernel asks for two seconds whether somebody has the bridge's address, each time that it comes again.
  on_host sysctl -qw net.ipv6.conf.default.accept_dad=0
  undone_and_back 0 --no-probe br1 "${BOTH[@]}"
  mended_and_gone 1 --no-probe br1 "${BOTH[@]}"
  on_host sysctl -qw net.ipv6.conf.default.accept_dad=1
}

@test "a host that learnt its default route from a router keeps it when it starts to forward IPv6" {
  need dnsmasq dnsmasq-base
  local before
  rig_daemon radvertise nsenter --net="$LAN_NS" dnsmasq --keep-in-foreground --no-daemon --conf-file=/dev/null --port=0 \
    --interface=lan0 --bind-interfaces --enable-ra --dhcp-range=fd77::,slaac,64,2m --ra-param=lan0,4,120
  wait_until 60 has_announced_route
  before=$(on_host sysctl -n net.ipv6.conf.eth0.accept_ra)
  run_pw --no-probe br1 "${BOTH[@]}"
  assert_exit 0
  [[ $(on_host sysctl -n net.ipv6.conf.eth0.accept_ra) == 2 ]]
  # the next announcement, within four seconds, is heard
  on_host ip -6 route del default dev eth0
  wait_until 60 has_announced_route
  pw disconnect netns:web
  has_announced_route
  [[ $(on_host sysctl -n net.ipv6.conf.eth0.accept_ra) == "$before" ]]
  # it is the setting that keeps it
  on_host sysctl -qw net.ipv6.conf.all.forwarding=1
  wait_until 30 has_no_announced_route
  rig_stop radvertise
}

has_no_announced_route() { ! has_announced_route; }

has_announced_route() {
  [[ -n $(on_host ip -6 route show default proto ra dev eth0) ]]
}

@test "several guests at once, on a bridge that none of them finds: all are right, and together they leave nothing" {
  local n pids=()
  remember_outside
  for n in 2 3 4 5 6; do netns_guest "g$n"; done
  for n in 2 3 4 5 6; do
    pw -q --no-probe br1 --bridge-address 10.0.0.1/24 --nat --publish "80$n:80" "netns:g$n" "10.0.0.$n/24@10.0.0.1" & pids+=($!)
  done
  for n in "${pids[@]}"; do wait "$n"; done
  on_host nft list table inet pipework | grep -c 'dnat ip to'
  run_pw ls --json
  assert_json "$output" '[.attachments[] | select(.missing)] == [] and (.attachments | length == 5)'
  pids=()
  for n in 2 3 4 5 6; do pw -q disconnect "netns:g$n" & pids+=($!); done
  for n in "${pids[@]}"; do wait "$n"; done
  assert_json "$(on_host ip -j link)" 'map(.ifname) | index("br1") == null'
  for n in 2 3 4 5 6; do on_host ip netns del "g$n"; done
  assert_outside_as_remembered
}
