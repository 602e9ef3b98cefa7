#!/usr/bin/env bats
# Many runs at once: each that says 0 has done its work, and none undoes another's.

load rig

setup() { need_host; }
teardown() {
  # A failed test may leave runs behind.
  [[ -z $(jobs -p) ]] || wait
  clean_host
}

# at_once COUNT WORD… — COUNT runs together, % in a word standing for the number of the run (from 1). Their output,
# as JSON, is in $BATS_TEST_TMPDIR/<number>.json. Fails, with what they said, unless all of them end with 0.
at_once() {
  local count=$1 number bad=0 pids=()
  shift
  for ((number = 1; number <= count; number++)); do
    pw --json "${@//%/$number}" > "$BATS_TEST_TMPDIR/$number.json" 2>&1 < /dev/null 3>&- 4>&- &
    pids+=($!)
  done
  for number in "${!pids[@]}"; do
    wait "${pids[number]}" || { cat "$BATS_TEST_TMPDIR/$((number + 1)).json" >&2; bad=1; }
  done
  ((bad == 0)) || fail 'not all of them succeeded'
}

# netns_guests COUNT — makes the guests netns:g1 to netns:g<COUNT>.
netns_guests() {
  local number
  for ((number = 1; number <= $1; number++)); do netns_guest "g$number"; done
}

# assert_attached COUNT BRIDGE — COUNT links are in the bridge and ls knows them all.
assert_attached() {
  assert_json "$(on_host ip -j link show master "$2")" "length == $1 and all(.[]; .flags | index(\"UP\"))"
  assert_json "$(pw ls --json)" ".attachments | length == $1 and all(.[]; .hostif == \"$2\" and .state == \"up\")"
}

@test "12 first runs at once on a new bridge: all succeed, on one bridge, which goes with the last of them" {
  local fresh number
  netns_guests 12
  fresh=$(host_state)
  at_once 12 br1 netns:g% 10.1.1.%/24
  assert_attached 12 br1
  assert_json "$(on_host ip -j -d link show dev br1)" '.[0] | .linkinfo.info_data.stp_state == 0
    and (.flags | index("UP")) and .ifalias != null'
  in_guest g1 ping -c 1 -W 20 -q 10.1.1.12
  at_once 12 disconnect netns:g%
  # Who was the last may have seen another still leaving.
  pw --quiet br1 netns:g1 0/0
  pw --quiet disconnect netns:g1
  assert_same_state "$fresh" "$(host_state)"
  for number in 1 12; do
    assert_json "$(guest_state "g$number")" '[.links[].name] == ["lo"] and .pins == []'
  done
}

@test "6 containers at once on a new bridge" {
  local number
  need_docker
  for number in 1 2 3 4 5 6; do start_guest "g$number"; done
  at_once 6 br1 g% 10.1.1.%/24,fd00::%/64
  assert_attached 6 br1
  assert_json "$(host_state)" '.pins == []'
}

@test "20 attaches at once to one bridge" {
  netns_guests 20
  on_host ip link add br1 type bridge
  on_host ip link set dev br1 up
  at_once 20 --no-probe br1 netns:g% 10.1.1.%/24@10.1.1.254,fd00::%/64
  assert_attached 20 br1
  assert_json "$(host_state)" '.pins == []'
  at_once 20 disconnect netns:g%
  assert_json "$(host_state)" '(.links | map(select(.name == "br1")) | length == 1) and (.links | length == 3)'
}

@test "20 at once to one container, on different interfaces, some with gateways" {
  local before
  need_docker
  start_guest web
  before=$(guest_state web)
  at_once 20 br1 -i e% web 10.1.%.2/24
  assert_attached 20 br1
  at_once 4 br1 -i g% web 10.2.%.2/24@10.2.%.1
  assert_attached 24 br1
  assert_json "$(guest_state web)" '([.links[].name | select(test("^e[0-9]"))] | length == 20)
    and (.routes | map(select(.dst == "default")) | length == 1)'
  pw disconnect web
  assert_same_state "$before" "$(guest_state web)"
  assert_json "$(host_state)" 'all(.links[]; .name != "br1") and .pins == []'
}

@test "the same command five times at once: one does it, all succeed, and it is as if one had run" {
  local round fresh host inside
  netns_guest web
  fresh=$(host_state)
  pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
  host=$(host_state | jq 'del(.links[].mac)')
  inside=$(guest_state web)
  for ((round = $(rounds_of 12 3); round > 0; round--)); do
    pw disconnect netns:web
    assert_same_state "$fresh" "$(host_state)"
    at_once 5 --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1
    assert_same_state "$host" "$(host_state | jq 'del(.links[].mac)')" || fail "round $round"
    assert_same_state "$inside" "$(guest_state web)" || fail "round $round"
  done
}

@test "the same change five times at once: all succeed" {
  local round inside
  netns_guest web
  for ((round = $(rounds_of 8 2); round > 0; round--)); do
    pw --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
    at_once 5 --no-probe br1 netns:web 10.1.1.3/24@10.1.1.9 26:2e:71:98:60:8f
    inside=$(guest_state web)
    assert_json "$inside" '.links[] | select(.name == "eth1") | .mac == "26:2e:71:98:60:8f"
      and ([.addresses[].local] == ["10.1.1.3"])' "round $round"
    assert_json "$inside" '[.routes[] | select(.dst == "default") | .gateway] == ["10.1.1.9"]' "round $round"
    run_pw --no-probe br1 netns:web 10.1.1.3/24@10.1.1.9 26:2e:71:98:60:8f
    assert_out 'nothing changed'
    pw disconnect netns:web
  done
}

# is_on_bridge GUEST — the other end of the guest's eth1 is a port of br1 that is up.
is_on_bridge() {
  local index
  index=$(in_guest "$1" ip -j link show dev eth1 | jq '.[0].link_index') || return
  on_host ip -j link show master br1 | jq -e --argjson index "$index" 'any(.[]; .ifindex == $index)' > /dev/null
}

# comes_and_goes GUEST ADDRESS ROUNDS — attaches and detaches; each attach that says 0 must be connected. What is
# wrong goes to standard output.
comes_and_goes() {
  local round
  for ((round = 1; round <= $3; round++)); do
    if pw --no-probe --quiet br1 "netns:$1" "$2" 2> "$BATS_TEST_TMPDIR/$1.err"; then
      is_on_bridge "$1" || echo "$1, round $round: said 0 and is not on the bridge"
    else
      echo "$1, round $round: $(< "$BATS_TEST_TMPDIR/$1.err")"
    fi
    pw --quiet disconnect "netns:$1" 2> "$BATS_TEST_TMPDIR/$1.err" || echo "$1, round $round: $(< "$BATS_TEST_TMPDIR/$1.err")"
  done
}

@test "attach and disconnect against each other, on a bridge that comes and goes with them" {
  local fresh guest pids=()
  netns_guests 3
  fresh=$(host_state)
  for guest in 1 2 3; do
    comes_and_goes "g$guest" "10.1.1.$guest/24" "$(rounds_of 40 8)" > "$BATS_TEST_TMPDIR/g$guest.wrong" 3>&- 4>&- &
    pids+=($!)
  done
  wait "${pids[@]}"
  [[ -z $(cat "$BATS_TEST_TMPDIR"/*.wrong) ]] || fail "$(cat "$BATS_TEST_TMPDIR"/*.wrong)"
  # The bridge may have been left by two who each saw the other on it; it is ours all the same.
  pw --quiet br1 netns:g1 0/0
  pw --quiet disconnect netns:g1
  assert_same_state "$fresh" "$(host_state)"
  assert_json "$(guest_state g1)" '[.links[].name] == ["lo"]'
}

@test "attach and disconnect of one and the same at once: one of the two, never half" {
  local round fresh pid
  netns_guest web
  fresh=$(host_state)
  for ((round = $(rounds_of 24 6); round > 0; round--)); do
    pw --quiet --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
    pw --quiet disconnect netns:web 2> "$BATS_TEST_TMPDIR/err" 3>&- 4>&- &
    pid=$!
    run_pw --no-probe br1 netns:web 10.1.1.3/24@10.1.1.1
    wait "$pid" || fail "round $round: $(< "$BATS_TEST_TMPDIR/err")"
    # Done, or done and taken away after that, or failed because its link went away under it.
    # shellcheck disable=SC2154 # set by run
    [[ $status == [01] && $stderr != *' bug'* ]] || fail "round $round: exit code $status" "$stderr"
    run_pw --no-probe br1 netns:web 10.1.1.3/24@10.1.1.1
    assert_exit 0
    is_web_as_wanted || fail "round $round"
    pw --quiet disconnect netns:web
    assert_same_state "$fresh" "$(host_state)" || fail "round $round"
  done
}

# is_web_as_wanted — netns:web has 10.1.1.3 and its gateway, and nothing else.
is_web_as_wanted() {
  assert_json "$(guest_state web)" '([.links[] | select(.name == "eth1") | .addresses[].local] == ["10.1.1.3"])
    and ([.routes[] | select(.dst == "default") | .gateway] == ["10.1.1.1"])'
}

@test "a disconnect waits for an attach that is at the same interface" {
  netns_guest web
  pw --no-probe br1 netns:web 10.1.1.2/24
  mkdir "$BATS_TEST_TMPDIR/bin"
  # An ip that takes its time when it is told something in the guest.
  cat > "$BATS_TEST_TMPDIR/bin/ip" << END
#!/bin/sh
case "\$*" in
  '-n pipework-'*[0-9]' -batch -') touch '$BATS_TEST_TMPDIR/told'; sleep 2 ;;
esac
exec $(command -v ip) "\$@"
END
  chmod +x "$BATS_TEST_TMPDIR/bin/ip"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH start_pw --no-probe br1 netns:web 10.1.1.2/24,10.1.1.3/24
  wait_until 60 test -e "$BATS_TEST_TMPDIR/told"
  run_pw disconnect netns:web
  assert_exit 0
  assert_out 'no longer has eth1'
  wait_pw
  # It had done its work before the link was taken away.
  assert_exit 0
  assert_json "$(in_guest web ip -j link)" 'map(.ifname) | index("eth1") == null'
}

@test "the lock of a killed run holds up nobody, however many runs come at once" {
  start_guest web
  on_host ip link add br1 type bridge
  local inode i runs=()
  inode=$(stat -L -c %i "/proc/$(docker inspect --format '{{.State.Pid}}' web)/ns/net")
  on_host mkdir -p /run/pipework
  on_host ln -s 4194304-1 "/run/pipework/$inode-eth1.lock"
  for i in 1 2 3 4 5 6 7 8; do
    pw --no-probe --json br1 web 10.1.1.2/24 > "$BATS_TEST_TMPDIR/$i" &
    runs+=($!)
  done
  for i in "${runs[@]}"; do wait "$i"; done
  [[ $(cat "$BATS_TEST_TMPDIR"/[1-8] | jq -s 'map(select(.changed)) | length') == 1 ]]
  [[ $(in_guest web ip -j -4 address show dev eth1 | jq -r ".[0].addr_info[].local") == 10.1.1.2 ]]
  [[ -z $(on_host find /run/pipework -name '*.lock*') ]]
}
