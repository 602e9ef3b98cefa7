#!/usr/bin/env bats
# The rig itself: what the other suites build on must hold first.

load rig

setup() { need_host; }
teardown() { clean_host; }

# stand_in SCRIPT — a shell script in the place of dist/pipework.
stand_in() {
  PIPEWORK=$BATS_TEST_TMPDIR/pipework
  printf '#!/bin/sh\n%s\n' "$1" > "$PIPEWORK"
  chmod +x "$PIPEWORK"
}

@test "host and LAN reach each other and nothing else is there" {
  on_lan ping -c 1 -W 20 -q 192.168.77.10
  assert_json "$(on_host ip -j link)" '[.[].ifname] | sort == ["eth0", "lo"]'
  assert_json "$(on_lan ip -j link)" '[.[].ifname] | sort == ["lan0", "lo"]'
  [[ $(on_host ls /sys/class/net) != *lan0* ]]
  [[ -z $(on_host ip netns) ]]
}

@test "pw runs on the host, in the test's directory, and keeps its streams and exit code apart" {
  # shellcheck disable=SC2016 # expanded by the stand-in
  stand_in 'ls /sys/class/net; pwd; echo "[$NODE_EXTRA_CA_CERTS] $*" >&2; exit 3'
  cd "$BATS_TEST_TMPDIR"
  NODE_EXTRA_CA_CERTS=/x run_pw a 'b c'
  assert_exit 3
  assert_out "eth0"$'\n'"lo"$'\n'"$BATS_TEST_TMPDIR"
  assert_err '[] a b c'
  run ! assert_exit 0
  run ! assert_out 'not there'
}

@test "start_pw knows pipework's own PID, and SIGINT reaches it" {
  # shellcheck disable=SC2016 # expanded by the stand-in
  stand_in 'trap "echo got INT; exit 1" INT; echo $$; while :; do sleep 0.1; done'
  start_pw
  wait_until 30 grep -qx "$PW_PID" "$BATS_TEST_TMPDIR/pw.out"
  kill -INT "$PW_PID"
  wait_pw
  assert_exit 1
  assert_out 'got INT'
}

@test "a state sees addresses, routes, aliases, sysctls and pins; assert_same_state prints what differs" {
  local before change
  netns_guest web
  on_host ip link add veth0 type veth peer name eth1 netns web
  for change in 'ip addr add 10.1.1.1/24 dev eth1' 'ip link set dev eth1 up' 'ip route add default via 10.1.1.9' \
    'ip link set dev eth1 alias x' 'sysctl -qw net.ipv4.conf.eth1.arp_notify=1'; do
    before=$(guest_state web)
    # shellcheck disable=SC2086 # words of a command
    in_guest web $change
    run ! assert_same_state "$before" "$(guest_state web)"
    [[ $output == *$'\n+ '* ]]
  done

  before=$(host_state)
  on_host ln -s /proc/1/fd/99 /run/netns/pipework-1-x
  run ! assert_same_state "$before" "$(host_state)"
  [[ $output == *'+    "pipework-1-x"'* ]]
  on_host rm /run/netns/pipework-1-x
  assert_same_state "$before" "$(host_state)"
  run ! assert_same_state '' ''
}

@test "two containers are isolated until something connects them; capture sees them talk" {
  need_docker
  need tcpdump tcpdump
  start_guest web
  start_guest db
  assert_json "$(in_guest web ip -j link)" '[.[].ifname] == ["lo"]'
  [[ $(in_guest web readlink /proc/self/ns/net) != $(in_guest db readlink /proc/self/ns/net) ]]

  local guest ip=1 before
  before=$(guest_state web)
  on_host ip link add br1 type bridge
  on_host ip link set dev br1 up
  for guest in web db; do
    on_host ip link add "v$guest" master br1 type veth peer name eth1 netns "$(docker inspect -f '{{.State.Pid}}' "$guest")"
    on_host ip link set dev "v$guest" up
    in_guest "$guest" ip addr add "10.1.1.$((ip++))/24" dev eth1
    in_guest "$guest" ip link set dev eth1 up
  done
  capture br1 "$BATS_TEST_TMPDIR/packets" arp
  docker exec web ping -c 1 -W 20 10.1.1.2
  wait_until 30 grep -q 'Reply 10.1.1.2 is-at' "$BATS_TEST_TMPDIR/packets"
  stop_capture

  in_guest web ip link del dev eth1
  assert_same_state "$before" "$(guest_state web)"
}

@test "a container ends when it is told to, without waiting to be killed" {
  need_docker
  start_guest web
  stop_guest web
  assert_json "$(docker inspect web)" '.[0].State | .Running == false and .ExitCode != 137'
  run ! in_guest web true
}

@test "clean_host leaves nothing, whatever a test has made" {
  netns_guest web
  [[ -n $RIG_NO_DOCKER ]] || start_guest web1
  on_host ln -s /proc/1/fd/99 /run/netns/pipework-1-x
  on_host ip link add br1 type bridge
  on_host ip link add vweb type veth peer name eth1 netns web
  on_host ip link set dev vweb master br1
  on_host ip link set dev eth0 master br1
  on_host ip addr flush dev eth0
  clean_host
  assert_same_state "$(< "$RIG_DIR/fresh.json")" "$(host_state)"
  [[ -z $(on_host ls -A /run/netns) ]]
  [[ -n $RIG_NO_DOCKER || -z $(docker ps -aq) ]]
  on_lan ping -c 1 -W 20 -q 192.168.77.10
}

@test "a second suite beside this one meets nothing of it; killed, it leaves nothing" {
  local dir=$BATS_TEST_TMPDIR/second rig
  mkdir -p "$dir/tmp"
  cp "$BATS_TEST_DIRNAME"/{rig,setup_suite,soak}.bash "$dir"
  cat > "$dir/second.bats" << 'END'
load rig
@test "runs until it is killed" {
  [[ -z $RIG_NO_DOCKER ]] && start_guest web
  netns_guest db
  on_host ip link add br1 type bridge
  rig_daemon sleeper sleep 1000
  echo "$RIG_DIR" > "$TMPDIR/ready"
  sleep 1000
}
END
  netns_guest db
  on_host ip link add br1 type bridge
  env -i PATH="$PATH" TMPDIR="$dir/tmp" setsid "$BATS_ROOT/bin/bats" "$dir/second.bats" \
    > "$dir/out" 2>&1 < /dev/null 3>&- 4>&- &
  wait_until 120 test -s "$dir/tmp/ready" || fail "$(< "$dir/out")"
  rig=$(< "$dir/tmp/ready")
  [[ $rig == "$dir/tmp/"* ]]

  local sleeper
  sleeper=$(< "$rig/sleeper.pid")
  run ! gone "$sleeper"
  kill -KILL -- "-$!"
  wait_until 120 test ! -e "$rig"
  gone "$sleeper"
  run ! grep -F "$rig" /proc/mounts
  on_host ip netns | grep -qx db
}
