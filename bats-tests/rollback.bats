#!/usr/bin/env bats
# Whatever stops a run (a step that fails, a signal, kill -9, the guest's death), the host is as it was, or the
# next run mends it, or what is left is named with the command that removes it.

# shellcheck disable=SC2030,SC2031,SC2154 # each test is a process of its own; status, output, stderr are set by wait_pw
load rig

setup() { need_host; }
teardown() {
  clean_host
}

# count_steps WORD… — how many steps the plan for these words has now.
count_steps() {
  local steps
  steps=$(pw --dry-run --json "$@" | jq '.steps | length')
  ((steps > 0)) || fail "no steps: $*"
  echo "$steps"
}

# rolls_back GUEST WORD… — the words fail after each of their steps in turn, and each time all is as it was;
# then they succeed.
rolls_back() {
  local guest=$1 steps n host inside
  shift
  steps=$(count_steps "$@")
  host=$(host_state)
  inside=$(guest_state "$guest")
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "$@"
    assert_exit 1 || fail "failing after step $n" || return
    assert_err "stopped after step $n of $steps" || return
    assert_same_state "$host" "$(host_state)" || fail "after step $n of: $*" || return
    assert_same_state "$inside" "$(guest_state "$guest")" || fail "after step $n of: $*" || return
  done
  PIPEWORK_FAIL_AFTER=$steps run_pw "$@"
  assert_exit 0
  [[ $(host_state)$(guest_state "$guest") != "$host$inside" ]] || fail "has changed nothing: $*"
}

# uplinked_guest NAME — a netns guest with a way out of its own: eth0 with default routes of both families.
uplinked_guest() {
  netns_guest "$1"
  on_host ip link add "up$1" type veth peer name eth0 netns "$1"
  on_host ip link set dev "up$1" up
  in_guest "$1" ip -batch - << 'END'
addr add 172.17.0.2/16 brd + dev eth0
addr add fd17::2/64 dev eth0 nodad
link set dev eth0 up
route add default via 172.17.0.1 dev eth0
route add 10.99.0.0/16 via 172.17.0.9 dev eth0 metric 7
route add ::/0 via fd17::1 dev eth0
END
}

# plain_bridge NAME… — bridges that somebody has made by hand.
plain_bridge() {
  local name
  for name; do
    on_host ip link add "$name" type bridge
    on_host ip link set dev "$name" up
  done
}

# --- a step fails ----------------------------------------------------------------------------------------

@test "a new bridge, IPv4 and a gateway: undone after every step, in a container" {
  need_docker
  start_guest web
  rolls_back web --no-probe br1 web 10.1.1.2/24@10.1.1.1
}

@test "a new bridge, IPv4 and a gateway: undone after every step, in a namespace" {
  netns_guest web
  rolls_back web --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
}

@test "a bridge that was down, both families, gateways in and outside the subnet, over other default routes" {
  uplinked_guest web
  on_host ip link add br1 type bridge
  rolls_back web --no-probe br1 netns:web 10.1.1.2/24,10.1.2.2/24@10.200.0.1,fd00::2/64@fd00::1 U:web
}

@test "the same with the gateways the other way round, and no name for IPv4's subnet" {
  uplinked_guest web
  plain_bridge br1
  rolls_back web --no-probe br1 -i eth2 -l webhost netns:web fd00::2/64@fe80::1,fd01::2/128,10.1.1.2/32@10.200.0.1
}

@test "with the probes: undone after every step" {
  plain_bridge br1
  netns_guest web
  rolls_back web br1 netns:web 10.1.1.2/24,fd00::2/64
}

@test "another address, the gateway gone, another MAC address: undone after every step" {
  uplinked_guest web
  plain_bridge br1
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
  rolls_back web --no-probe br1 netns:web 10.1.1.3/24,fd00::3/64 26:2e:71:98:60:8f
  assert_json "$(in_guest web ip -j route show default)" '.[0].dev == "eth0" and length == 1'
}

@test "the same in a container without another default route" {
  need_docker
  start_guest web
  pw --no-probe br1 web 10.1.1.2/24@10.1.1.1
  rolls_back web --no-probe br1 web 10.1.1.3/24 26:2e:71:98:60:8f
}

@test "another prefix length, another gateway, routes of the user's own: undone after every step" {
  uplinked_guest web
  plain_bridge br1
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,10.1.1.3/24,fd00::2/64@fd00::1
  in_guest web ip route add 10.50.0.0/16 via 10.1.1.9 dev eth1
  in_guest web ip route add fd50::/64 via fd00::9 dev eth1
  in_guest web ip addr add 10.7.7.7/24 brd + dev eth1
  rolls_back web --no-probe br1 netns:web 10.1.1.2/16@10.1.7.1,10.1.1.3/24,fd00::2/56@fd00::7
}

@test "addresses taken away altogether: undone after every step" {
  uplinked_guest web
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
  rolls_back web --no-probe br1 netns:web 0/0
}

@test "what somebody has changed by hand is set right: undone after every step" {
  netns_guest web
  pw --no-probe br1 -l webhost netns:web 10.1.1.2/24
  on_host ip link set dev br1 mtu 1400
  on_host ip link set dev webhost down
  in_guest web ip link set dev eth1 down
  rolls_back web --no-probe br1 netns:web 10.1.1.2/24,fd00::2/64 26:2e:71:98:60:8f
}

@test "--force to another bridge, new or old: undone after every step" {
  netns_guest web
  plain_bridge br2
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  rolls_back web --no-probe --force br2 netns:web 10.1.1.3/24@10.1.1.1
  # br1 was ours and is unused now; br2 was made by hand.
  on_host sh -c '! test -e /sys/class/net/br1 && test -e /sys/class/net/br2'
  rolls_back web --no-probe --force br3 netns:web 10.1.1.3/24@10.1.1.1
  on_host test -e /sys/class/net/br2
  rolls_back web --no-probe --force eth0 netns:web 10.1.1.3/24@10.1.1.1
  on_host sh -c '! test -e /sys/class/net/br3'
}

@test "--force away from a bridge that goes, and a later line of the same guest fails: the bridge is back" {
  local host inside
  netns_guest web
  pw --no-probe br1 netns:web 10.1.1.2/24
  printf '%s\n' 'br2 netns:web 10.1.1.2/24 --force' 'br2 -i eth2 netns:web 10.1.2.2/24' > "$BATS_TEST_TMPDIR/two"
  host=$(host_state)
  inside=$(guest_state web)
  PIPEWORK_FAIL_AFTER=$(($(count_steps --no-probe --force br2 netns:web 10.1.1.2/24) + 2)) run_pw up "$BATS_TEST_TMPDIR/two"
  assert_exit 1
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
  # A cable is a user: br1 stays.
  on_host ip link add dev cable master br1 type dummy 2> /dev/null || on_host ip link add dev cable master br1 type veth
  pw --no-probe --force br2 netns:web 10.1.1.2/24
  on_host test -e /sys/class/net/br1
}

@test "--force to another host name: undone after every step" {
  netns_guest web
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  rolls_back web --no-probe --force br1 -l webhost netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64
}

@test "a macvlan: undone after every step" {
  uplinked_guest web
  rolls_back web --no-probe eth0 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
  rolls_back web --no-probe eth0 netns:web 10.1.1.3/24 26:2e:71:98:60:8f
  rolls_back web disconnect netns:web
}

@test "disconnect, with earlier default routes and the last port of our bridge: undone after every step" {
  uplinked_guest web
  pw --no-probe br1 -l webhost netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 26:2e:71:98:60:8f
  in_guest web ip addr add 10.7.7.7/24 brd + dev eth1
  in_guest web ip route add 10.50.0.0/16 via 10.1.1.9 dev eth1
  in_guest web ip route add fd50::/64 via fd00::9 dev eth1
  rolls_back web disconnect netns:web
  assert_json "$(host_state)" 'all(.links[]; .name != "br1")'
}

@test "disconnect of one of two, which returns to what the other replaced: undone after every step" {
  need_docker
  start_guest web
  pw --no-probe br1 web 10.1.1.2/24@10.1.1.1
  pw --no-probe br1 -i eth2 web 10.2.2.2/24@10.2.2.1
  rolls_back web disconnect web eth1
  rolls_back web disconnect web eth2
}

# --- kill -9 ---------------------------------------------------------------------------------------------

# without_macs — a state without the addresses that the kernel rolls dice for.
without_macs() {
  jq 'del(.links[].mac)'
}

# survives_kill GUEST PREPARE WORD… — kill -9 after each step in turn, from the state that the function PREPARE
# makes: the same words again lead to where they lead undisturbed, and then to nothing by disconnect.
survives_kill() {
  local guest=$1 prepare=$2 steps n host inside fresh name
  shift 2
  name=netns:$guest
  fresh=$(host_state)$(guest_state "$guest")
  "$prepare"
  steps=$(count_steps "$@")
  run_pw "$@"
  assert_exit 0
  host=$(host_state | without_macs)
  inside=$(guest_state "$guest")
  pw disconnect "$name"
  [[ $(host_state)$(guest_state "$guest") == "$fresh" ]] || fail "disconnect leaves something: $*"
  for n in $(steps_of 0 "$steps" 2); do
    "$prepare"
    PIPEWORK_KILL_AFTER=$n run -137 pw "$@"
    run_pw "$@"
    assert_exit 0 || fail "after a kill after step $n" || return
    assert_same_state "$host" "$(host_state | without_macs)" || fail "after a kill after step $n of: $*" || return
    assert_same_state "$inside" "$(guest_state "$guest")" || fail "after a kill after step $n of: $*" || return
    pw disconnect "$name"
    assert_same_state "$fresh" "$(host_state)$(guest_state "$guest")" || fail "disconnect after a kill after step $n" || return
  done
}

@test "kill -9 after every step of a first run: the next one heals" {
  netns_guest web
  survives_kill web true --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
}

@test "kill -9 after every step, both families over other default routes: the next run heals" {
  uplinked_guest web
  plain_bridge br1
  survives_kill web true --no-probe br1 netns:web 10.1.1.2/24@10.200.0.1,fd00::2/64@fd00::1 U:web
}

@test "kill -9 before the kernel has accepted an IPv6 address: the next run waits for it, or refuses it" {
  local n
  netns_guest web
  netns_guest db
  on_host ip link add br1 type bridge
  on_host ip link set dev br1 up
  n=$(pw --dry-run --json br1 netns:web fd00::2/64 | jq '1 + (.steps | index("give eth1 the address fd00::2/64"))')
  PIPEWORK_KILL_AFTER=$n run -137 pw br1 netns:web fd00::2/64
  run_pw br1 netns:web fd00::2/64
  assert_exit 0
  [[ -z $(in_guest web ip address show dev eth1 tentative) ]]
  PIPEWORK_KILL_AFTER=$n run -137 pw br1 netns:db fd00::2/64
  run_pw br1 netns:db fd00::2/64
  assert_exit 1
  assert_err "the address 'fd00::2' is taken"
}

@test "kill -9 after every step of a change: the next run heals" {
  earlier() { pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1; }
  uplinked_guest web
  survives_kill web earlier --no-probe br1 netns:web 10.1.1.3/24,fd00::3/64 26:2e:71:98:60:8f
}

@test "kill -9 after every step of a change of prefix and gateway: the next run heals" {
  earlier() { pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1; }
  uplinked_guest web
  survives_kill web earlier --no-probe br1 netns:web 10.1.1.2/16@10.1.7.1,fd00::2/56@fd00::7
}

@test "kill -9 after every step of a move to another bridge and name: the next run heals" {
  earlier() { pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1; }
  netns_guest web
  plain_bridge br1
  survives_kill web earlier --no-probe --force br2 -l webhost netns:web 10.1.1.2/24@10.1.1.1
}

@test "kill -9 after every step of a disconnect: the next one goes on" {
  local fresh steps n
  uplinked_guest web
  fresh=$(host_state)$(guest_state web)
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
  steps=$(count_steps disconnect netns:web)
  pw disconnect netns:web
  for n in $(steps_of 0 "$steps" 2); do
    pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
    PIPEWORK_KILL_AFTER=$n run -137 pw disconnect netns:web
    pw disconnect netns:web
    # A bridge whose last port is gone is nobody's: the next one who uses it takes it along.
    pw --no-probe br1 netns:web 0/0
    pw disconnect netns:web
    assert_same_state "$fresh" "$(host_state)$(guest_state web)" || fail "after a kill after step $n"
  done
}

@test "kill -9 from outside at any moment: the next run heals" {
  local fresh i rounds ms host='' inside
  netns_guest web
  fresh=$(host_state)$(guest_state web)
  rounds=$(rounds_of 40 8)
  for ((i = 0; i < rounds; i++)); do
    ms=$((i * 140 / rounds))
    start_pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
    # Before the shell has opened the files of its output there is nothing to kill.
    wait_until 30 test -e "$BATS_TEST_TMPDIR/pw.err"
    sleep "0.$(printf %03d "$ms")"
    kill -KILL "$PW_PID" || true
    wait_pw
    # An `ip` that it has started ends by itself.
    run_pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
    assert_exit 0
    host=${host:-$(host_state | without_macs)}
    inside=${inside:-$(guest_state web)}
    assert_same_state "$host" "$(host_state | without_macs)"
    assert_same_state "$inside" "$(guest_state web)"
    pw disconnect netns:web
    assert_same_state "$fresh" "$(host_state)$(guest_state web)" || fail "killed after $ms ms"
  done
}

@test "pins of dead runs are swept, those of living ones are not" {
  netns_guest web
  on_host ln -s /proc/1/fd/99 /run/netns/pipework-999999999-1-1
  on_host ln -s "/proc/$$/fd/99" "/run/netns/pipework-$$-1-1"
  on_host ln -s "/proc/$$/fd/99" "/run/netns/pipework-$$-$(cut -d ' ' -f 22 "/proc/$$/stat")-1"
  on_host touch /run/netns/pipework-mine
  pw br1 netns:web 0/0
  assert_json "$(host_state)" "(.pins | sort) == ([\"pipework-mine\", \"pipework-$$-$(cut -d ' ' -f 22 "/proc/$$/stat")-1\"] | sort)"
  on_host find /run/netns -type l -delete
  on_host rm /run/netns/pipework-mine
}

# --- an undo fails ---------------------------------------------------------------------------------------

# lame_ip PATTERN — from now on `lame` runs pipework with an ip that refuses the lines that match PATTERN.
lame_ip() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  # shellcheck disable=SC2016 # expanded by the script
  printf '#!/bin/sh\nPATTERN=%q REAL=%q\n%s\n' "$1" "$(command -v ip)" '
    case "$*" in *-batch*) ;; *) exec "$REAL" "$@" ;; esac
    for file; do :; done
    lines=$(cat "$file")
    line=$(printf "%s\n" "$lines" | grep -nE -m 1 -e "$PATTERN" | cut -d : -f 1)
    [ -n "$line" ] || { printf "%s\n" "$lines" | "$REAL" "$@"; exit; }
    printf "%s\n" "$lines" | head -n "$((line - 1))" | "$REAL" "$@" || exit
    printf "RTNETLINK answers: Device or resource busy\nCommand failed %s:%s\n" "$file" "$line" >&2
    exit 2' > "$BATS_TEST_TMPDIR/bin/ip"
  chmod +x "$BATS_TEST_TMPDIR/bin/ip"
}

# lame WORD… — runs pipework with the ip of lame_ip, under run.
lame() {
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run_pw "$@"
}

# take_back — runs the commands that the last run, with --json, has given for its leftovers.
take_back() {
  local command
  jq -r '.leftovers[].command' <<< "$output" > "$BATS_TEST_TMPDIR/commands"
  [[ -s $BATS_TEST_TMPDIR/commands ]] || fail 'no leftover is named' "$output"
  while read -r command; do
    on_host sh -c "$command" || fail "does not work: $command"
  done < "$BATS_TEST_TMPDIR/commands"
}

@test "a step that the kernel refuses: exit 1, its words, and all as it was" {
  local host inside
  netns_guest web
  host=$(host_state)
  inside=$(guest_state web)
  lame_ip '^addr add'
  lame --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 1
  assert_err 'could not give eth1 the address 10.1.1.2/24: RTNETLINK answers: Device or resource busy'
  assert_err 'addr add 10.1.1.2/24'
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
}

@test "an undo that fails: exit 3, and what is left is named with the command that removes it" {
  local host inside
  netns_guest web
  host=$(host_state)
  inside=$(guest_state web)
  lame_ip '^addr add|^link del dev v'
  lame --no-probe br1 -l vweb netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 3
  assert_err 'could not give eth1 the address'
  assert_err 'left: '
  assert_err 'ip link del dev vweb'
  # Now the next run heals it, if it can…
  run_pw --no-probe br1 -l vweb netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 0
  pw disconnect netns:web
  assert_same_state "$host" "$(host_state)"
  # …or the user does.
  lame --json --no-probe br1 -l vweb netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 3
  assert_json "$output" '.ok == false and .exitCode == 3'
  take_back
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
}

@test "an undo inside the guest that fails: the command named restores it" {
  local host inside
  need_docker
  start_guest web
  pw --no-probe br1 web 10.1.1.2/24@10.1.1.1
  host=$(host_state)
  inside=$(guest_state web)
  # The new address is refused, and then the return of the old one.
  lame_ip '^addr add'
  lame --json --no-probe br1 web 10.1.1.3/24@10.1.1.1
  assert_exit 3
  take_back
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
}

@test "a disconnect that fails half-way and cannot return: exit 3" {
  local host inside
  uplinked_guest web
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64
  host=$(host_state)
  inside=$(guest_state web)
  lame_ip '^link del dev br1|^addr add'
  lame --json disconnect netns:web
  assert_exit 3
  take_back
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
}

@test "somebody removes the bridge while the link is made: exit 1, nothing half-made" {
  local host inside
  netns_guest web
  host=$(host_state)
  inside=$(guest_state web)
  lame_ip '^never$'
  # A competitor removes the bridge as soon as something is changed in the guest.
  cat > "$BATS_TEST_TMPDIR/bin/ip" << END
#!/bin/sh
case "\$*" in
  '-n pipework-'*[0-9]' -batch -') nsenter --target \$PPID --net $(command -v ip) link del dev br1 2> /dev/null ;;
esac
exec $(command -v ip) "\$@"
END
  lame --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 1
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
}

@test "an ip in the guest that does not end: after 30 s it is ended, and all is as it was" {
  local host inside
  netns_guest web
  host=$(host_state)
  inside=$(guest_state web)
  mkdir "$BATS_TEST_TMPDIR/bin"
  cat > "$BATS_TEST_TMPDIR/bin/ip" << END
#!/bin/sh
case "\$*" in '-n pipework-'*[0-9]' -batch -') echo \$\$ > '$BATS_TEST_TMPDIR/hangs'; sleep 60; touch '$BATS_TEST_TMPDIR/ended' ;; esac
exec $(command -v ip) "\$@"
END
  chmod +x "$BATS_TEST_TMPDIR/bin/ip"
  lame --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  assert_exit 1
  assert_err 'did not end within 30 s'
  wait_until 5 gone "$(< "$BATS_TEST_TMPDIR/hangs")"
  [[ ! -e $BATS_TEST_TMPDIR/ended ]]
  assert_same_state "$host" "$(host_state)"
  assert_same_state "$inside" "$(guest_state web)"
}

# --- signals ---------------------------------------------------------------------------------------------

# signalled SIGNAL SECONDS WORD… — runs pipework and gives it the signal so long after its start.
signalled() {
  start_pw "${@:3}"
  # Before the shell has opened the files of its output there is nothing to signal.
  wait_until 30 test -e "$BATS_TEST_TMPDIR/pw.err"
  sleep "$2"
  kill -s "$1" "$PW_PID" 2> /dev/null || true
  wait_pw
  rm "$BATS_TEST_TMPDIR"/pw.{out,err}
}

# all_or_nothing SIGNAL SECONDS WORD… — the signal so long after the start leaves all or nothing of the words, which
# attach something to netns:web or change it. True too when all of it is there: is_all says which.
all_or_nothing() {
  local host inside
  host=$(host_state)
  inside=$(guest_state web)
  signalled "$@"
  OUTCOMES+=" $status"
  is_all=
  case $status in
    0) is_all=1 ;;
    1) [[ $stderr == *interrupted* ]] || fail "$stderr" || return ;;
    # Node does not hear it yet, or no longer: then it has said that all is done.
    129 | 130 | 143) [[ -z $output ]] || is_all=1 ;;
    *) fail "exit code $status" "$stderr" || return ;;
  esac
  if [[ -n $is_all ]]; then
    run_pw "${@:3}"
    assert_exit 0 && assert_out 'nothing changed'
  else
    assert_same_state "$host" "$(host_state)" || fail "exit code $status" "$stderr" || return
    assert_same_state "$inside" "$(guest_state web)" || fail "exit code $status" "$stderr"
  fi
}

@test "SIGINT, SIGTERM and SIGHUP at any moment: all or nothing" {
  local signal moment
  OUTCOMES=
  netns_guest web
  for moment in 0.{00,03,05,06,07,08,09,10,12,15}; do
    for signal in INT TERM HUP; do
      all_or_nothing "$signal" "$moment" --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 ||
        fail "SIG$signal after $moment s"
      [[ -z $is_all ]] || pw --quiet disconnect netns:web
    done
  done
  echo "exit codes:$OUTCOMES"
}

@test "a signal while others are asked for the address: all or nothing" {
  local moment
  OUTCOMES=
  uplinked_guest web
  plain_bridge br1
  for moment in 0.{10,15,20,25,30,35,40}; do
    all_or_nothing INT "$moment" br1 netns:web 10.1.1.2/24@10.1.1.1 || fail "after $moment s"
    [[ -z $is_all ]] || pw --quiet disconnect netns:web
  done
  for moment in 0.{20,50,80} 1.{2,6}; do
    all_or_nothing TERM "$moment" br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 || fail "after $moment s"
    [[ -z $is_all ]] || pw --quiet disconnect netns:web
  done
  echo "exit codes:$OUTCOMES"
  [[ $OUTCOMES == *' 1'* ]] || fail 'no run was interrupted'
}

@test "a signal while a guest is awaited ends the wait" {
  local host
  need_docker
  host=$(host_state)
  start_pw --wait-guest 300 br1 nobody 10.1.1.2/24
  sleep 0.5
  kill -INT "$PW_PID"
  wait_until 60 gone "$PW_PID"
  wait_pw
  [[ $status == 1 || $status == 130 ]] || fail "exit code $status"
  assert_same_state "$host" "$(host_state)"
}

@test "a signal during a change: all or nothing" {
  local moment
  OUTCOMES=
  netns_guest web
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  for moment in 0.{05,06,07,08,09,10,11,12,13,14,16}; do
    all_or_nothing TERM "$moment" --no-probe br1 netns:web 10.1.1.3/24,fd00::3/64 26:2e:71:98:60:8f ||
      fail "after $moment s"
    if [[ -n $is_all ]]; then
      pw --quiet disconnect netns:web
      pw --quiet --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
    fi
  done
  echo "exit codes:$OUTCOMES"
}

@test "a second SIGINT ends it at once, without a pin" {
  local n
  netns_guest web
  mkdir "$BATS_TEST_TMPDIR/bin"
  # An ip that hangs when it is told something in the guest, so that the first signal has to wait.
  # shellcheck disable=SC2016 # expanded by the script
  printf '#!/bin/sh\n%s\nexec %q "$@"\n' "case \"\$*\" in '-n pipework-'*[0-9]' -batch -') echo \$\$ > '$BATS_TEST_TMPDIR/hangs'; exec sleep 20 ;; esac" \
    "$(command -v ip)" > "$BATS_TEST_TMPDIR/bin/ip"
  chmod +x "$BATS_TEST_TMPDIR/bin/ip"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH start_pw --no-probe br1 netns:web 10.1.1.2/24
  wait_until 60 test -s "$BATS_TEST_TMPDIR/hangs"
  kill -INT "$PW_PID"
  sleep 0.5
  run ! gone "$PW_PID"
  kill -INT "$PW_PID"
  # The hanging one has not ended yet.
  wait_until 15 gone "$PW_PID"
  n=$(< "$BATS_TEST_TMPDIR/hangs")
  run ! gone "$n"
  kill "$n"
  wait_pw
  ((status != 0))
  assert_json "$(host_state)" '.pins == []'
  # And the next run heals.
  run_pw --no-probe br1 netns:web 10.1.1.2/24
  assert_exit 0
}

# --- the guest dies --------------------------------------------------------------------------------------

# is_portless BRIDGE — the bridge has no ports.
is_portless() {
  [[ -z $(on_host ls "/sys/class/net/$1/brif") ]]
}

# is_host_state STATE — the host's is this one.
is_host_state() {
  [[ $(host_state) == "$1" ]]
}

@test "the container dies at any moment: attached before, or refused, and the host as it was" {
  local moment host pid codes=
  need_docker
  start_guest web
  docker stop web > /dev/null
  host=$(host_state)
  local moments=(0.{00,05,07,08,10,12,20})
  ! soaking || moments=(0.{00,03,05,06,07,08,09,10,11,12,13,14,16,20})
  for moment in "${moments[@]}"; do
    docker start web > /dev/null
    pid=$(docker inspect --format '{{.State.Pid}}' web)
    start_pw --no-probe br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
    sleep "$moment"
    kill -KILL "$pid"
    wait_pw
    codes+=" $status"
    case $status in
      0)
        # The link died with the container. The bridge is ours and unused: the next disconnect takes it.
        wait_until 60 is_portless br1
        on_host ip link del dev br1
        ;;
      1) [[ $stderr != *' bug'* ]] || fail "$stderr" ;;
      *) fail "exit code $status after $moment s" "$stderr" ;;
    esac
    wait_until 60 is_host_state "$host" || assert_same_state "$host" "$(host_state)"
    wait_until 60 gone "$pid"
  done
  echo "exit codes:$codes"
}

@test "the namespace is deleted at any moment: refused, or done, never half" {
  local moment host codes=
  host=$(host_state)
  local moments=(0.{03,06,08,10})
  ! soaking || moments=(0.{03,05,06,07,08,09,10,12})
  for moment in "${moments[@]}"; do
    netns_guest web
    start_pw --no-probe br1 netns:web 10.1.1.2/24
    sleep "$moment"
    on_host ip netns del web
    wait_pw
    codes+=" $status"
    if ((status == 0)); then
      wait_until 60 is_portless br1
      on_host ip link del dev br1
    else
      ((status == 1)) || fail "exit code $status after $moment s" "$stderr"
    fi
    wait_until 60 is_host_state "$host" || assert_same_state "$host" "$(host_state)"
  done
  echo "exit codes:$codes"
}
