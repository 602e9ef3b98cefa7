#!/usr/bin/env bats
# route, rule, tc and exec: the host's programs in a guest's network. netns: a name for it. --wait: inside a container.
# shellcheck disable=SC2016 # what stands in single quotes is expanded in the guest
# shellcheck disable=SC2030,SC2031 # status, output and stderr are set by bats, in each test's own shell

load rig
load promise

setup() { need_docker; }

teardown() {
  [[ -z ${PW_PID-} ]] || kill -KILL "$PW_PID" 2> /dev/null || true
  clean_host
}

# no_pins — no name of a run is left in /run/netns.
no_pins() {
  [[ -z $(on_host find /run/netns -name 'pipework-*') ]]
}

# with_ipv6 GUEST — Docker switches IPv6 off where it gives no network.
with_ipv6() {
  in_guest "$1" sysctl -qw net/ipv6/conf/all/disable_ipv6=0 net/ipv6/conf/default/disable_ipv6=0
}

# --- route, rule, tc -------------------------------------------------------------------------------------

@test "route: IPv4 and IPv6 routes of a guest that pipework has not attached to" {
  start_guest web
  with_ipv6 web
  in_guest web ip link add dev br9 type bridge
  in_guest web ip address add 10.5.0.1/24 dev br9
  in_guest web ip link set dev br9 up
  remember
  run_pw route web add 10.6.0.0/16 via 10.5.0.9 metric 7
  assert_exit 0
  run_pw route web add fd00:6::/64 dev br9
  assert_exit 0
  [[ $(routes web 4) == *'10.6.0.0/16 via 10.5.0.9 dev br9 metric 7'* ]]
  [[ $(routes web 6) == *'fd00:6::/64 dev br9'* ]]
  run_pw route web show 10.6.0.0/16
  assert_exit 0
  [[ $output == '10.6.0.0/16 via 10.5.0.9 dev br9 metric 7'* ]]
  run_pw route -a 6 web show fd00:6::/64
  assert_out 'fd00:6::/64 dev br9'
  run_pw -a inet6 route web get fd00:6::1
  assert_exit 0
  assert_out 'dev br9'
  no_pins
  assert_as_remembered
}

@test "rule: IPv4 and IPv6 rules of a guest" {
  start_guest web
  run_pw rule web add from 10.5.0.1 table 100 priority 50
  assert_exit 0
  run_pw rule -a inet6 web add from fd00::/64 table 101 priority 51
  assert_exit 0
  run_pw rule web show
  assert_out '50:	from 10.5.0.1 lookup 100'
  [[ $(in_guest web ip -6 rule) == *'51:	from fd00::/64 lookup 101'* ]]
  [[ $(on_host ip rule) != *'lookup 100'* ]]
}

@test "tc: a queue in the guest, and its counters" {
  need tc iproute2
  start_guest web
  pw br1 web 10.1.1.2/24
  run_pw tc web qdisc add dev eth1 root tbf rate 1mbit burst 32k latency 50ms
  assert_exit 0
  [[ $(in_guest web tc qdisc show dev eth1) == 'qdisc tbf '*'rate 1Mbit'* ]]
  run_pw tc web -s qdisc show dev eth1
  assert_exit 0
  assert_out 'Sent '
  [[ $(on_host tc qdisc show) != *tbf* ]]
}

@test "words that look like options of pipework are the program's own" {
  netns_guest blue
  run_pw route netns:blue --help
  assert_exit "$(on_host ip route --help > /dev/null 2>&1; echo $?)"
  assert_err 'ip route help'
  run_pw exec netns:blue ip --json link
  assert_exit 0
  assert_json "$output" '.[0].ifname == "lo"'
  run_pw exec netns:blue ping -c 1 -h
  assert_exit 2
  assert_err 'Usage'
  run_pw exec netns:blue printf '[%s]' -- -i --dry-run --wait 007 1e3 '' 'a b' $'c\nd' '$HOME' '*' --json=x
  assert_exit 0
  [[ $output == $'[--][-i][--dry-run][--wait][007][1e3][][a b][c\nd][$HOME][*][--json=x]' ]]
  run_pw --wait-guest 5 exec netns:blue echo --wait-guest 6
  assert_exit 0
  [[ $output == '--wait-guest 6' ]]
}

# --- exec ------------------------------------------------------------------------------------------------

@test "exec: the guest's interfaces, also in /sys, with the programs and files of the host" {
  start_guest web
  pw br1 web 10.1.1.2/24
  remember web
  run_pw exec web sh -c 'ls /sys/class/net; cat /sys/class/net/eth1/carrier; ip -br address show dev eth1; pwd'
  assert_exit 0
  assert_out eth1
  [[ $output == *$'\n1\n'*10.1.1.2/24*$'\n'"$PWD" ]]
  [[ $output != *eth0* ]]
  assert_as_remembered
}

@test "exec: standard input, output and error pass through, and not a byte of pipework's own" {
  netns_guest blue
  head -c 3000000 /dev/urandom > "$BATS_TEST_TMPDIR/in"
  pw exec netns:blue cat < "$BATS_TEST_TMPDIR/in" > "$BATS_TEST_TMPDIR/out"
  cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
  run_pw exec netns:blue sh -c 'echo one; echo two >&2'
  [[ $output == one && $stderr == two ]]
  # a reader that has seen enough
  [[ $(pw exec netns:blue yes | head -n 1) == y ]]
  [[ $(echo hello | pw exec netns:blue sh -c 'read -r a; echo "$a"') == hello ]]
}

@test "exec: the exit code is the program's own" {
  netns_guest blue
  local code
  for code in 0 1 2 3 124 255; do
    run_pw exec netns:blue sh -c "exit $code"
    assert_exit "$code"
    [[ -z $stderr ]]
  done
  run_pw exec netns:blue sh -c 'kill -TERM $$'
  assert_exit 143
  run_pw exec netns:blue sh -c 'kill -KILL $$'
  assert_exit 137
  run -127 --separate-stderr pw exec netns:blue no-such-program
  assert_err no-such-program
  run -127 pw exec netns:blue --help
  run_pw exec netns:blue /etc/passwd
  assert_exit 126
  run_pw exec netns:blue /etc
  assert_exit 126
  no_pins
}

@test "exec: SIGTERM goes on to the program, and its name goes with it" {
  netns_guest blue
  start_pw exec netns:blue sh -c 'trap "echo caught; exit 9" TERM; echo ready; while :; do sleep 0.05; done'
  wait_until 30 grep -q ready "$BATS_TEST_TMPDIR/pw.out"
  kill -TERM "$PW_PID"
  wait_pw
  assert_exit 9
  assert_out caught
  no_pins
}

# on_terminal COMMAND — runs it on a terminal of its own; what is written to descriptor 8 is typed there.
# With exec: the shell that script starts would take Ctrl-C too, and not every shell makes way for its last command.
on_terminal() {
  need script bsdutils
  mkfifo "$BATS_TEST_TMPDIR/keys"
  on_host_exec env -u NODE_EXTRA_CA_CERTS script --quiet --return --flush --command "exec $1" /dev/null \
    > "$BATS_TEST_TMPDIR/pw.out" 2> "$BATS_TEST_TMPDIR/pw.err" < "$BATS_TEST_TMPDIR/keys" 3>&- 4>&- &
  PW_PID=$!
  exec 8> "$BATS_TEST_TMPDIR/keys"
}

# shown TEXT — the terminal shows it.
shown() {
  grep -aqF -- "$1" "$BATS_TEST_TMPDIR/pw.out"
}

@test "exec on a terminal: Ctrl-C ends the program, with its own code" {
  netns_guest blue
  on_terminal "$PIPEWORK exec netns:blue sh -c 'trap \"echo caught; exit 5\" INT; echo re''ady; while :; do sleep 0.05; done'"
  wait_until 30 shown ready
  printf '\003' >&8
  wait_pw
  exec 8>&-
  assert_exit 5
  assert_out caught
  no_pins
}

@test "exec on a terminal: a program that takes Ctrl-C and Ctrl-\\ goes on, and pipework with it" {
  netns_guest blue
  on_terminal "$PIPEWORK exec netns:blue sh -c 'trap \"echo in\"t INT; trap \"echo qu\"it QUIT; echo re''ady; until read -r a; do :; done; exit 8'"
  wait_until 30 shown ready
  local key
  for key in '\003' '\003' '\034'; do
    # shellcheck disable=SC2059 # the key is octal
    printf "$key" >&8
    sleep 0.3
  done
  wait_until 30 shown quit
  [[ $(grep -ao int "$BATS_TEST_TMPDIR/pw.out" | wc -l) == 2 ]]
  printf 'done\n' >&8
  wait_pw
  exec 8>&-
  assert_exit 8
}

@test "exec on a terminal: a shell in which one works; Ctrl-C is for what runs in it" {
  netns_guest blue
  on_terminal "$PIPEWORK exec netns:blue bash --norc --noprofile -i"
  wait_until 30 shown '#'
  printf 'ip -o link | wc -l; tty > /dev/null && echo a-"termin"al\n' >&8
  wait_until 30 shown a-terminal
  local nap=100$RANDOM
  printf 'sleep %s\n' "$nap" >&8
  wait_until 30 pgrep -fx "sleep $nap" > /dev/null
  printf '\003' >&8
  printf 'echo still "he"re\n' >&8
  wait_until 30 shown 'still here'
  # job control: Ctrl-Z stops a job of the shell's, not the shell
  printf 'sleep %s\n' "1$nap" >&8
  wait_until 30 pgrep -fx "sleep 1$nap" > /dev/null
  printf '\032' >&8
  wait_until 30 shown Stopped
  printf 'kill %%1; exit 6\nexit 6\n' >&8
  wait_pw
  exec 8>&-
  assert_exit 6
  no_pins
}

@test "exec: refused in one line, and nothing runs" {
  start_guest web
  stop_guest web
  remember
  run_pw exec web touch "$BATS_TEST_TMPDIR/ran"
  assert_refused 1 "'web' is not running"
  run_pw exec nobody touch "$BATS_TEST_TMPDIR/ran"
  assert_refused 1 "there is no container 'nobody'"
  run_pw --wait-guest 0.2 exec web touch "$BATS_TEST_TMPDIR/ran"
  assert_refused 124 'timed out after 0.2 s'
  local word
  for word in route rule tc exec; do
    run_pw "$word"
    assert_refused 2 "$word: missing argument <guest>"
    run_pw "$word" web
    assert_refused 2 "$word: missing argument <"
  done
  run_pw --json exec web true
  assert_exit 2
  assert_json "$output" '.ok == false'
  run --separate-stderr on_host env -C / setpriv --reuid=65534 --regid=65534 --clear-groups "$(command -v node)" \
    - exec web true < "$PIPEWORK"
  assert_exit 1
  [[ $stderr == 'pipework: only root can enter the network of a guest'* && $(wc -l <<< "$stderr") == 1 ]]
  docker run --detach --name open --network host busybox > /dev/null
  run_pw exec open touch "$BATS_TEST_TMPDIR/ran"
  assert_refused 1 "'open' shares the network of the host"
  [[ ! -e $BATS_TEST_TMPDIR/ran ]]
}

@test "exec: waits for the guest; and a dry run prints a script that does the same" {
  start_guest web
  stop_guest web
  start_pw exec --wait-guest 60 web ip -br link show dev lo
  sleep 0.3
  docker start web > /dev/null
  wait_pw
  assert_exit 0
  assert_out 'lo '
  run_pw --dry-run exec web sh -c 'echo "in $1: $(ls /sys/class/net)"; exit 4' - 'a b'
  assert_exit 0
  no_pins
  on_host sh -n -c "$output"
  run on_host sh -c "$output"
  assert_exit 4
  [[ $output == 'in a b: lo'* ]]
  no_pins
}

@test "a bridge called like a word is reached behind --" {
  start_guest web
  bridge exec
  run_pw -- exec web 10.1.1.2/24
  assert_exit 0
  assert_out 'web has eth1 on exec'
  run_pw exec web true
  assert_exit 0
}

# --- netns -----------------------------------------------------------------------------------------------

@test "netns: a name that ip netns takes, until the container stops" {
  start_guest web
  pw br1 web 10.1.1.2/24
  run_pw netns web
  assert_exit 0
  assert_out 'undo: ip netns del web'
  [[ $(on_host ip netns exec web ip -br address show dev eth1) == *10.1.1.2/24* ]]
  run_pw netns web
  assert_exit 0
  assert_out 'nothing changed'
  run_pw netns web blue --json
  assert_exit 0
  assert_json "$output" '.changed and .name == "blue" and .path == "/run/netns/blue"'
  on_host ip -n blue link show dev eth1
  # the name keeps nothing alive
  stop_guest web
  wait_until 30 no_host_end
  run ! on_host ip netns exec web true
  # after a restart the same name is made anew
  docker start web > /dev/null
  run_pw netns web
  assert_exit 0
  on_host ip -n web link show dev lo
  run_pw netns --prune
  assert_exit 0
  [[ $output == 'removed blue, which led to no namespace' ]]
  # undo, with the container as it was
  on_host ip netns del web
  docker exec web true
  run ! on_host ip netns exec web true
  no_pins
}

# no_host_end — the bridge br1 is without ports.
no_host_end() {
  [[ -z $(on_host ls /sys/class/net/br1/brif) ]]
}

@test "netns: the undo leaves Docker's own mount of the namespace alone" {
  start_guest web
  pw netns web
  local key
  key=$(docker inspect --format '{{.NetworkSettings.SandboxKey}}' web)
  on_host ip netns del web
  [[ $(on_host stat -L -c %i "$key") == "$(on_host stat -L -c %i "$(guest_net web)")" ]]
}

@test "netns: a name in use is refused, and nothing happens to it" {
  start_guest web
  start_guest db
  netns_guest blue
  pw netns db
  local before
  before=$(on_host ls -li /run/netns)
  run_pw netns web blue
  assert_exit 1
  assert_err "'/run/netns/blue' is the name of another network namespace"
  run_pw netns web db
  assert_exit 1
  run_pw netns web a/b
  assert_exit 2
  run_pw netns
  assert_exit 2
  run_pw netns web a b
  assert_exit 2
  run_pw netns netns:blue red
  assert_exit 1
  assert_err "'blue' has a name already"
  run_pw netns netns:blue
  assert_exit 0
  [[ $(on_host ls -li /run/netns) == "$before" ]]
}

@test "netns --prune: only names that lead nowhere; not live ones, not mounts, not files" {
  start_guest web
  netns_guest blue
  pw netns web
  on_host sh -c '
    ln -s /proc/999999999/ns/net /run/netns/dead; ln -s /nowhere "/run/netns/odd one"
    ln -s /run/netns/blue /run/netns/alias; touch /run/netns/file'
  run_pw netns --prune --dry-run
  assert_exit 0
  assert_out 'rm /run/netns/dead'
  [[ $(on_host ls /run/netns | wc -l) == 6 ]]
  PIPEWORK_FAIL_AFTER=1 run_pw netns --prune
  assert_exit 1
  [[ $(on_host readlink /run/netns/dead '/run/netns/odd one') == $'/proc/999999999/ns/net\n/nowhere' ]]
  run_pw netns --prune --json
  assert_exit 0
  assert_json "$output" '.changed and .removed == ["dead", "odd one"]'
  [[ $(on_host ls /run/netns) == $'alias\nblue\nfile\nweb' ]]
  run_pw netns --prune
  assert_exit 0
  assert_out 'nothing changed'
  on_host ip netns exec web true
  on_host ip netns exec blue true
}

@test "netns: a dry run is a script that does the same; a failure takes it back" {
  start_guest web
  run_pw --dry-run netns web
  assert_exit 0
  local script=$output
  [[ -z $(on_host ls /run/netns) ]]
  PIPEWORK_FAIL_AFTER=1 run_pw netns web
  assert_exit 0
  on_host ip netns del web
  on_host ln -s /proc/999999999/ns/net /run/netns/web
  PIPEWORK_FAIL_AFTER=1 run_pw netns web
  assert_exit 1
  [[ $(on_host readlink /run/netns/web) == /proc/999999999/ns/net ]]
  on_host rm /run/netns/web
  on_host sh -c "$script"
  on_host ip -n web link show dev lo
}

# --- --wait ----------------------------------------------------------------------------------------------

# start_waiter NAME [DOCKER_RUN_ARG…] — a container that has Node and pipework, and no ip.
start_waiter() {
  start_guest "$@" -v "$(readlink -f "$(command -v node)"):/node:ro" -v "$PIPEWORK:/pipework:ro" \
    -v /lib:/lib:ro -v /lib64:/lib64:ro --user 65534
  docker exec --user 0 "$1" rm -f /bin/ip
}

# in_waiter NAME ARG… — pipework in there.
in_waiter() {
  run --separate-stderr docker exec "$1" /node /pipework "${@:2}"
}

# waiting NAME ARG… — pipework in there, in the background, for wait_pw.
waiting() {
  on_host_exec docker exec "$1" /node /pipework "${@:2}" \
    > "$BATS_TEST_TMPDIR/pw.out" 2> "$BATS_TEST_TMPDIR/pw.err" < /dev/null 3>&- 4>&- &
  PW_PID=$!
}

# waits — it does, still.
waits() {
  sleep 0.5
  ! gone "$PW_PID" || fail "it does not wait: $(cat "$BATS_TEST_TMPDIR"/pw.*)"
}

# ends — and now it has what it waited for.
ends() {
  wait_pw
  assert_exit 0
  [[ -z $output && -z $stderr ]]
}

@test "--wait inside a container, without root and ip: until the interface is there and has a carrier" {
  start_waiter web
  waiting web --wait
  waits
  pw br1 web 10.1.1.2/24
  ends
  in_waiter web --wait --timeout 0
  assert_exit 0
  # up, but with no carrier
  on_host ip link set dev "$(host_end web eth1)" down
  in_waiter web --timeout 0.3 --wait -i eth1
  assert_exit 124
  [[ $stderr == "pipework: timed out after 0.3 s: 'eth1' has no carrier"* ]]
  waiting web -i eth1 --wait
  waits
  on_host ip link set dev "$(host_end web eth1)" up
  ends
}

@test "--wait --for up, addr and route: each when it is so, and not before" {
  start_waiter web
  in_waiter web --wait --timeout 0.2 -i ib0 --for route
  assert_exit 124
  assert_err "there is no 'ib0'"
  pw br1 web 0/0
  with_ipv6 web
  in_guest web ip link set dev eth1 down
  waiting web --wait --for up
  waits
  in_guest web ip link set dev eth1 up
  ends

  in_waiter web --wait --timeout 0.2 --for addr
  assert_exit 124
  assert_err "'eth1' has no address"
  waiting web --wait --for addr
  waits
  in_guest web ip address add 10.1.1.2/24 dev eth1
  ends
  in_guest web ip address del 10.1.1.2/24 dev eth1
  # IPv6: not before the kernel has made sure that nobody else has it
  in_guest web sysctl -qw net/ipv6/conf/eth1/dad_transmits=2
  in_guest web ip address add fd00::2/64 dev eth1
  in_waiter web --wait --for addr --timeout 0
  assert_exit 124
  waiting web --wait --for addr
  ends
  [[ $(in_guest web ip -6 address show dev eth1 scope global) != *tentative* ]]

  waiting web --wait --for route
  waits
  in_guest web ip route add default dev eth1
  ends
  in_guest web ip route del default
  waiting web --wait --for route
  waits
  in_guest web ip -6 route add default via fd00::1 dev eth1
  ends
}

@test "--wait where /sys is not there: until the interface exists" {
  start_waiter web --mount type=tmpfs,destination=/sys
  waiting web --wait
  waits
  pw br1 web 10.1.1.2/24
  ends
  in_waiter web --wait --timeout 0.2 -i eth2
  assert_exit 124
}

@test "--wait: Ctrl-C ends it; what cannot be waited for is refused" {
  start_pw --wait -i eth9
  sleep 0.5
  kill -INT "$PW_PID"
  wait_pw
  assert_exit 1
  [[ $stderr == "pipework: interrupted while waiting for 'eth9'" ]]
  run_pw --wait --for luck
  assert_exit 2
  run_pw --wait eth0
  assert_exit 2
  assert_err "unexpected argument 'eth0'"
  run_pw --wait -i eth0 --timeout 5 --json
  assert_exit 0
  assert_json "$output" '.ok and .ifname == "eth0" and .for == "carrier"'
}
