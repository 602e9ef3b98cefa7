#!/usr/bin/env bats
# pipework --dry-run: prints a shell script that does the same, and changes nothing.

load rig
load promise

setup() { need_docker; }
teardown() { clean_host; }

# script_of ARG… — the script for a run of pipework, in a file whose name it prints; clean for shellcheck.
script_of() {
  local file
  file=$(mktemp "$BATS_TEST_TMPDIR/XXXXXX.sh")
  pw --dry-run "$@" > "$file" || return
  ! command -v shellcheck > /dev/null || shellcheck "$file" >&2 || return
  echo "$file"
}

# assert_script_equals GUEST ARG… — the script for this run makes of the present state what the run itself makes.
# BACK, a command, brings the present state back.
assert_script_equals() {
  local script guest=$1 before after
  before=$(host_state; guest_state "$guest")
  script=$(script_of "${@:2}") || fail "no good script for: ${*:2}" || return
  assert_same_state "$before" "$(host_state; guest_state "$guest")"
  pw "${@:2}"
  after=$(state_without_chance "$guest")
  [[ $before != "$after" ]] || fail "this changes nothing: ${*:2}"

  "${BACK[@]}"
  on_host sh "$script" > /dev/null || fail "$(< "$script")" || return
  assert_same_state "$after" "$(state_without_chance "$guest")"
  # What the script has made is pipework's as if it had made it itself.
  if [[ $2 != disconnect ]]; then
    run_pw "${@:2}"
    assert_out 'nothing changed'
  fi
  "${BACK[@]}"
}

@test "nothing changes, and the script is all that is on stdout" {
  start_guest web
  remember web
  run_pw --dry-run br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64
  assert_exit 0
  [[ $output == '#!/bin/sh'$'\n''# pipework br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64'$'\n'* && -z $stderr ]]
  assert_as_remembered
  run_pw -n br1 web 10.1.1.2/24 --json
  assert_exit 0
  assert_json "$output" '.ok and .dryRun and (.script | startswith("#!/bin/sh")) and (.steps | length > 3)'
  run_pw -nq br1 web 10.1.1.2/24
  assert_exit 0
  assert_out '#!/bin/sh'
  assert_as_remembered
}

@test "the script makes what the run makes: bridge, link, addresses, routes" {
  need shellcheck shellcheck
  local BACK=(pw -q disconnect web)
  start_guest web
  assert_script_equals web br1 web 10.1.1.2/24@10.1.1.1
  assert_script_equals web br1 -i eth2 -l webhost web 10.1.1.2/24,10.1.1.3/24,fd00::2/64@fd00::1 U:web
  assert_script_equals web br1 web 10.1.1.2/32@10.9.9.9,fd00::2/128@fd09::9 --no-probe
  assert_script_equals web br1 web 0/0
  bridge br1
  on_host ip link set dev br1 down
  on_host ip link set dev br1 mtu 1400
  BACK=(bridge_down)
  assert_script_equals web br1 web 10.1.1.2/24@10.1.1.1
}

bridge_down() {
  pw -q disconnect web
  on_host ip link set dev br1 mtu 1400
  on_host ip link set dev br1 down
}

@test "the script changes what the run changes" {
  need shellcheck shellcheck
  local BACK=(pw -q br1 web 10.1.1.2/24@10.1.1.1 26:2e:71:98:60:8f -l webhost --force)
  start_guest web
  pw br1 -i eth4 web 10.1.4.2/24@10.1.4.1
  bridge br2
  "${BACK[@]}"
  assert_script_equals web br1 web 10.1.1.3/24@10.1.1.1
  assert_script_equals web br1 web 10.1.1.2/16@10.1.1.254 26:2e:71:98:60:90
  assert_script_equals web br1 web 10.1.1.2/24
  assert_script_equals web br2 web 10.1.1.2/24@10.1.1.1 --force
  assert_script_equals web br1 web 10.1.1.2/24@10.1.1.1 -l other --force
}

@test "the script of a disconnect takes away what disconnect takes away" {
  need shellcheck shellcheck
  local BACK=(attach_both)
  start_guest web
  attach_both
  assert_script_equals web disconnect web eth2
  assert_script_equals web disconnect web eth1
  BACK=(attach_one)
  pw disconnect web
  attach_one
  assert_script_equals web disconnect web
}

attach_one() {
  pw -q br1 web 10.1.1.2/24@10.1.1.1 -l web1
}

attach_both() {
  attach_one
  pw -q br2 -i eth2 web 10.1.2.2/24@10.1.2.1 -l web2
}

@test "the script of a disconnect of several interfaces" {
  need shellcheck shellcheck
  local script
  start_guest web
  in_guest web ip link add dev eth0 type bridge
  in_guest web ip addr add 172.17.0.2/16 dev eth0
  in_guest web ip link set dev eth0 up
  in_guest web ip route add default via 172.17.0.1 proto static
  remember web
  attach_both
  pw -q br1 -i eth3 web 10.1.3.2/24@10.1.3.1 --no-probe
  script=$(script_of disconnect web)
  on_host sh "$script"
  assert_as_remembered
}

@test "what is so already makes an empty script" {
  start_guest web
  pw br1 web 10.1.1.2/24
  remember web
  run_pw --dry-run br1 web 10.1.1.2/24
  assert_exit 0
  assert_out '# nothing to do'
  on_host sh -c "$output"
  assert_as_remembered
}

@test "a script stops where it fails: at a taken address, before the address is used" {
  need arping iputils-arping
  local script
  start_guest web
  start_guest owner
  pw br1 owner 10.1.1.2/24
  script=$(script_of br1 web 10.1.1.2/24)
  run ! on_host sh "$script"
  [[ -z $(addresses web) && -z $(on_host ls -A /run/netns) ]]
  rm "$script"
  script=$(script_of br1 -i eth2 web fd00::2/64)
  pw br1 owner 10.1.1.2/24,fd00::2/64
  run ! on_host sh "$script"
  [[ -z $(on_host ls -A /run/netns) ]]
}

@test "what a run refuses its dry run refuses" {
  start_guest web
  remember web
  run_pw --dry-run lan1 web 10.1.1.2/24
  assert_refused 1 "'lan1'"
  run_pw --dry-run br1 nobody 10.1.1.2/24
  assert_refused 1 "there is no container 'nobody'"
  run_pw --dry-run br1 web 10.1.1.2
  assert_refused 2 '10.1.1.2/24'
}

# --- without root ----------------------------------------------------------------------------------------

# nobody ARG… — pipework as a user without rights, under `run`; from a folder that such a user can read.
nobody() {
  on_host install -m 755 "$PIPEWORK" /run/pipework-copy
  run --separate-stderr on_host setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs /run/pipework-copy "$@"
  on_host rm /run/pipework-copy
}

@test "not root: the same script for an untouched guest, with a remark; without --dry-run a refusal" {
  local script=$BATS_TEST_TMPDIR/script after
  netns_guest blue
  remember blue
  nobody --dry-run br1 netns:blue 10.1.1.2/24@10.1.1.1
  assert_exit 0
  assert_out '# not root: the inside of blue could not be read and is assumed to be empty'
  assert_as_remembered
  echo "$output" > "$script"
  pw br1 netns:blue 10.1.1.2/24@10.1.1.1
  after=$(state_without_chance blue)
  assert_undone netns:blue
  on_host sh "$script"
  assert_same_state "$after" "$(state_without_chance blue)"
  assert_undone netns:blue

  nobody br1 netns:blue 10.1.1.2/24
  assert_refused 1 'only root can change network interfaces' '--dry-run'
  nobody disconnect netns:blue
  assert_refused 1 'only root can change network interfaces'
}

@test "not root: --version, --help and a disconnect's dry run work; Docker's socket is refused in words" {
  start_guest web
  netns_guest blue
  pw br1 netns:blue 10.1.1.2/24 -l bluehost
  remember web blue
  nobody --version
  assert_exit 0
  nobody --help
  assert_exit 0
  assert_out '--dry-run'
  nobody --dry-run disconnect netns:blue
  assert_exit 0
  assert_out 'ip link del dev bluehost'
  DOCKER_HOST=unix:///run/docker.sock nobody --dry-run br1 web 10.1.1.2/24
  assert_refused 1 "no permission on Docker's socket '/run/docker.sock'"
}

# --- golden plans ----------------------------------------------------------------------------------------

@test "every golden plan for a fresh guest runs as it is" {
  local file ran=0 golden=$BATS_TEST_DIRNAME/../src/plan/golden
  [[ -d $golden ]] || skip 'there is no src/plan/golden yet'
  for file in "$golden"/*.sh; do
    [[ -e $file ]] || fail 'src/plan/golden has no plans'
    # The first change is what it makes: it needs no link that is there already.
    grep -q '^ln -s /run/netns/blue ' "$file" && grep -m 1 '^ip link ' "$file" | grep -q '^ip link add dev .* type \(bridge\|veth\)' || continue
    # VLANs: uml.bats; Open vSwitch: ovs.bats; another interface's routes: routes.bats
    ! grep -v '^#' "$file" | grep -q 'vlan\|ovs-vsctl\|dev eth0' || continue
    netns_guest blue
    grep -q '^ip link add dev br1 .*type bridge' "$file" || bridge br1
    on_host sh "$file" > /dev/null || fail "$file failed" || return
    assert_json "$(in_guest blue ip -j link)" 'length == 2'
    [[ -z $(on_host find /run/netns -name 'pipework*') ]]
    clean_host
    ((ran += 1))
  done
  ((ran > 0)) || fail 'none of the golden plans is for a fresh netns:blue'
}
