#!/usr/bin/env bats
# The main job with every Node that pipework promises to run on. scripts/verify installs them.

load rig
load promise

setup() { need_docker; }
teardown() { clean_host; }

# main_job VERSION — attach, again, ls, dry run, help, refusal, disconnect.
main_job() {
  local node=$BATS_TEST_DIRNAME/../node_modules/.nodes/node_modules/node-$1/bin/node
  [[ -x $node ]] || missing "Node $1 is not there: run npm test"
  [[ $("$node" --version) == "v$1."* ]]
  start_guest web
  start_guest db
  remember web db

  with "$node" br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64 U:myhost.foo.com
  assert_exit 0
  [[ $(addresses web) == '10.1.1.2/24 fd00::2/64' ]]
  assert_json "$(link web eth1)" '.address == "02:72:6c:cd:9b:8d"'
  with "$node" br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64 U:myhost.foo.com
  assert_exit 0
  assert_out 'nothing changed'
  with "$node" br1 db 10.1.1.3/24
  assert_exit 0
  ping_from web 10.1.1.3

  with "$node" ls --json
  assert_exit 0
  assert_json "$output" '[.attachments[].guest.name] == ["db", "web"]'
  with "$node" --dry-run br1 -i eth2 web 10.1.2.2/24
  assert_exit 0
  assert_out '#!/bin/sh'
  with "$node" --help
  assert_exit 0
  assert_out '--wait-guest'
  with "$node" br1 -i eth2 web 10.1.1.3/24
  assert_exit 1
  assert_err "the address '10.1.1.3' is taken"
  with "$node" br1 nobody 10.1.1.3/24
  assert_exit 1
  assert_err "there is no container 'nobody'"

  with "$node" disconnect db
  assert_exit 0
  with "$node" disconnect web
  assert_exit 0
  [[ -z $stderr ]]
  assert_as_remembered
}

# with NODE ARG… — pipework on the host, run by this node.
with() {
  run --separate-stderr on_host env -u NODE_EXTRA_CA_CERTS "$1" "$PIPEWORK" "${@:2}"
}

@test "Node 18" { main_job 18; }
@test "Node 20" { main_job 20; }
@test "Node 22" { main_job 22; }
@test "Node 24" { main_job 24; }
