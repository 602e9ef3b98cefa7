#!/usr/bin/env bats
# --publish: ports of the host that lead to a guest; the LAN at the other end of eth0 is the outside.

# shellcheck disable=SC2016,SC2030,SC2031,SC2054,SC2153,SC2154 # lists of words with commas; shell for the host; status, output and stderr are set by run_pw
load rig
load promise
load outside

ON_BR1=(--no-probe br1 --bridge-address 10.0.0.1/24,fd00:1::1/64 netns:web 10.0.0.2/24@10.0.0.1,fd00:1::2/64@fd00:1::1)

setup() { outside_guest; }

teardown() {
  stop_ovs
  clean_outside
  clean_host
}

is_reached_by_all() {
  remember_outside
  netns_guest db
  run_pw "${ON_BR1[@]}" --publish 8080:80 --publish 5353:53/udp --publish 192.168.77.10:9000-9001:9000-9001
  assert_exit 0
  pw --no-probe br1 netns:db 10.0.0.3/24@10.0.0.1,fd00:1::3/64@fd00:1::1
  for port in 80 53 9001; do serve "$port" in_guest web; done
  # from outside, with the client's own address
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  [[ $(ask 'TCP6:[fd77::10]:8080' on_lan) == *fd77:0000:0000:0000:0000:0000:0000:0001* ]]
  [[ $(ask UDP4:192.168.77.10:5353 on_lan) == 192.168.77.1 ]]
  [[ $(ask TCP4:192.168.77.10:9001 on_lan) == 192.168.77.1 ]]
  no_answer TCP4:192.168.77.10:80 on_lan
  # from the host itself, by any of its addresses
  [[ $(ask TCP4:127.0.0.1:8080 on_host) == 10.0.0.1 ]]
  [[ -n $(ask TCP4:192.168.77.10:8080 on_host) ]]
  [[ -n $(ask UDP4:127.0.0.1:5353 on_host) ]]
  [[ -n $(ask 'TCP6:[fd77::10]:8080' on_host) ]]
  # from a neighbour, and from the guest itself: by the host's address, and back through it
  [[ $(ask TCP4:192.168.77.10:8080 in_guest db) == 10.0.0.1 ]]
  [[ $(ask 'TCP6:[fd77::10]:8080' in_guest db) == *fd00:0001:0000:0000:0000:0000:0000:0001* ]]
  [[ $(ask TCP4:192.168.77.10:8080 in_guest web) == 10.0.0.1 ]]
  [[ -n $(ask 'TCP6:[fd77::10]:8080' in_guest web) ]]
  run_pw "${ON_BR1[@]}" --publish 8080:80 --publish 5353:53/udp --publish 192.168.77.10:9000-9001:9000-9001
  assert_out "nothing changed"
  # other ports: converged in place
  pw "${ON_BR1[@]}" --publish 8081:80
  [[ $(ask TCP4:192.168.77.10:8081 on_lan) == 192.168.77.1 ]]
  no_answer TCP4:192.168.77.10:8080 on_lan
  stop_servers
  pw disconnect netns:db
  pw disconnect netns:web
  on_host ip netns del db
  assert_outside_as_remembered
}

@test "nftables: from outside, from the host, from neighbours and the guest itself; TCP, UDP, both families" {
  is_reached_by_all
}

@test "iptables-legacy, without nft: the same" {
  use_legacy
  on_host sh -c 'for i in iptables ip6tables; do for t in raw filter nat; do $i -t $t -S; done; done' > /dev/null
  is_reached_by_all
}

@test "who is on the bridge does not reach what listens on the host's 127.0.0.1 only" {
  pw "${ON_BR1[@]}" --publish 8080:80
  on_host socat TCP4-LISTEN:9999,bind=127.0.0.1,fork,reuseaddr SYSTEM:'echo secret' > /dev/null 2>&1 3>&- 4>&- &
  echo "$!" >> "$BATS_TEST_TMPDIR/servers"
  [[ $(ask TCP4:127.0.0.1:9999 on_host) == secret ]]
  # a guest that sends what is for 127.0.0.1 to the host
  in_guest web sh -c 'sysctl -qw net.ipv4.conf.all.route_localnet=1 && ip addr flush dev lo && ip route add 127.0.0.1/32 via 10.0.0.1'
  no_answer TCP4:127.0.0.1:9999 in_guest web
  # it is our rule that stops it
  on_host nft flush chain inet pipework guard
  [[ $(ask TCP4:127.0.0.1:9999 in_guest web) == secret ]]
}

@test "on a bridge whose guests have their gateway elsewhere, what comes in is answered to the host" {
  on_host ip link add dev br1 type bridge
  on_host ip addr add 192.168.88.10/24 dev br1
  on_host ip link set dev br1 up
  remember_outside
  pw --no-probe br1 --publish 8080:80 netns:web 192.168.88.50/24@192.168.88.1
  serve 80 in_guest web
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.88.10 ]]
  [[ $(ask TCP4:127.0.0.1:8080 on_host) == 192.168.88.10 ]]
  stop_servers
  pw disconnect netns:web
  assert_outside_as_remembered
}

@test "of a ptp guest" {
  pw --no-probe ptp --publish 8080:80 netns:web 10.9.0.2/32,fd09::2/128
  serve 80 in_guest web
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  [[ -n $(ask TCP4:127.0.0.1:8080 on_host) ]]
  [[ -n $(ask 'TCP6:[fd77::10]:8080' on_lan) ]]
  [[ -n $(ask TCP4:192.168.77.10:8080 in_guest web) ]]
}

@test "of a guest on a bridge of Open vSwitch, with --nat: the host's own port comes up with its address" {
  need ovs-vswitchd openvswitch-switch
  start_ovs
  local words=(--no-probe ovs1 "${ON_BR1[@]:2}" --nat --publish 8080:80) n
  netns_guest db
  remember_outside
  for n in 7 8 9; do
    PIPEWORK_FAIL_AFTER=$n run_pw "${words[@]}"
    assert_exit 1
    assert_outside_as_remembered || fail "after step $n"
  done
  run_pw "${words[@]}"
  assert_exit 0
  pw --no-probe ovs1 netns:db 10.0.0.3/24@10.0.0.1
  serve 80 in_guest web
  serve 7000 on_lan
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  [[ $(ask 'TCP6:[fd77::10]:8080' on_lan) == *fd77:0000:0000:0000:0000:0000:0000:0001* ]]
  [[ $(ask TCP4:127.0.0.1:8080 on_host) == 10.0.0.1 ]]
  [[ $(ask TCP4:192.168.77.10:8080 in_guest db) == 10.0.0.1 ]]
  [[ $(ask TCP4:192.168.77.10:8080 in_guest web) == 10.0.0.1 ]]
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  [[ -n $(ask 'TCP6:[fd77::1]:7000' in_guest web) ]]
  stop_servers
  run_pw "${words[@]}"
  assert_out "nothing changed"
  pw disconnect netns:db
  pw disconnect netns:web
  assert_outside_as_remembered
}

@test "refused before the first change" {
  netns_guest db
  pw --no-probe br1 --bridge-address 10.0.0.1/24 --publish 8080:80 netns:db 10.0.0.3/24@10.0.0.1
  serve 7070 on_host
  wait_until 20 on_host sh -c 'ss -lnt | grep -q :7070'
  remember web
  remember_outside
  refused() {
    local code=$1 message=$2
    shift 2
    run_pw --no-probe br1 netns:web 10.0.0.2/24@10.0.0.1 "$@"
    assert_refused "$code" "$message"
  }
  refused 1 "leads to 'db' already" --publish 8080:80
  refused 1 "leads to 'db' already" --publish 192.168.77.10:8000-8100:8000-8100
  refused 1 "something listens on 0.0.0.0 port 7070 (tcp) of this host" --publish 7070:80
  refused 1 "something listens on 0.0.0.0 port 7070 (udp) of this host" --publish 127.0.0.1:7070:80/udp
  refused 2 "'8080:80' already uses this host port" --publish 8080:80 --publish 8080:81
  refused 2 "is not a port or a range" --publish 0:80
  refused 2 "is not a port or a range" --publish 8080:http
  refused 2 "does not say which host port" --publish 8080
  refused 2 "is not tcp or udp" --publish 8080:80/sctp
  refused 2 "differ in their number of ports" --publish 8080-8082:80-81
  refused 2 "the guest gets no IPv6 address" --publish '[fd77::10]:8081:80'
  refused 2 "the kernel does not forward packets sent to ::1" --publish '[::1]:8081:80'
  refused 2 "is not an IP address" --publish '1.2.3:8081:80'
  run_pw br2 --publish 8081:80 netns:web 10.2.0.2/24
  assert_refused 1 "the host has no address on 'br2'"
  run_pw eth0 --publish 8081:80 netns:web 192.168.77.50/24
  assert_refused 1 "does not pass through this host"
  run_pw br1 --publish 8081:80 netns:web 0/0
  assert_refused 2 "the guest gets no address"
  assert_outside_as_remembered
}

goes_there_and_back() { # FIRST: the first step to fail at
  local words=("${ON_BR1[@]}" --nat --publish 8080:80 --publish '[fd77::10]:5353:53/udp') n
  on_host sysctl -qw net.ipv6.conf.default.accept_dad=0
  netns_guest db
  pw --no-probe br1 --bridge-address 10.0.0.1/24 --publish 9090:90 netns:db 10.0.0.3/24@10.0.0.1
  undone_and_back "$1" "${words[@]}"
  # killed on the way out: the next one takes away what is left, of the firewall as well
  for n in $(steps_of 1 "$STEPS_BACK" 2); do
    PIPEWORK_KILL_AFTER=$n run -137 pw disconnect netns:web
    pw disconnect netns:web
    assert_same_state "$BEFORE" "$(outside_state)" || fail "disconnect, killed after step $n of $STEPS_BACK"
    pw "${words[@]}"
  done
  mended_and_gone $((STEPS - 4)) "${words[@]}"
  on_host sysctl -qw net.ipv6.conf.default.accept_dad=1
}

@test "nftables: undone after every step, mended after kill -9, beside the ports of another" {
  goes_there_and_back 0
}

@test "iptables-legacy: the same" {
  use_legacy
  goes_there_and_back 13 # those before are the link's, and the same
}

# start_dockernat — a second dockerd, with its iptables on.
start_dockernat() {
  rig_daemon dockernat dockerd --data-root "$RIG_DIR/datanat" --exec-root "$RIG_DIR/execnat" --pidfile "$RIG_DIR/dockernat.lock" \
    --host "unix://$RIG_DIR/dockernat.sock" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${RIG_DIR##*/}" --bridge=none
  wait_until 60 docker --host "unix://$RIG_DIR/dockernat.sock" version > /dev/null 2>&1
}

@test "a real Docker with its firewall: FORWARD is DROP, and what is asked for passes; its restart and a flush are mended" {
  need_docker
  start_dockernat
  [[ $(on_host iptables -S FORWARD) == '-P FORWARD DROP'* ]] || fail 'Docker has not set FORWARD to DROP'
  serve 7000 on_lan
  serve 80 in_guest web
  pw "${ON_BR1[@]}" --nat --publish 8080:80
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  on_host iptables -S DOCKER-USER | grep -q 'PIPEWORK-FORWARD'
  # Docker's restart leaves DOCKER-USER alone
  rig_stop dockernat
  start_dockernat
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  run_pw ls --json
  assert_json "$output" '[.attachments[] | select(.missing)] == []'
  # iptables -F does not; with Docker back, or without
  on_host iptables -F
  rig_stop dockernat
  start_dockernat
  run_pw ls
  assert_out 'missing on this host'
  pw "${ON_BR1[@]}" --nat --publish 8080:80
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  rig_stop dockernat
  on_host iptables -F
  no_answer TCP4:192.168.77.10:8080 on_lan
  run_pw ls
  assert_out 'missing on this host'
  pw "${ON_BR1[@]}" --nat --publish 8080:80
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  pw disconnect netns:web
  run ! on_host sh -c 'iptables-save | grep -i pipework'
  [[ $(on_host iptables -S FORWARD) == '-P FORWARD DROP'* ]]
}
