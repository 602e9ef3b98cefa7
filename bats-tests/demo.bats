#!/usr/bin/env bats
# npm run demo: it checks each of its own steps.

load rig

setup() { need_host; }
teardown() { clean_host; }

@test "the demo runs to its end, and the machine is as before" {
  local before
  before=$(host_state)
  run --separate-stderr on_host "$BATS_TEST_DIRNAME/../scripts/demo"
  assert_exit 0
  assert_out 'Nothing is left'
  assert_same_state "$before" "$(host_state)"
  [[ -z $(on_host ip netns) ]]
}

@test "where no namespaces can be made the demo says why and exits 1" {
  run --separate-stderr on_host setpriv --bounding-set=-sys_admin --inh-caps=-all --ambient-caps=-all "$BATS_TEST_DIRNAME/../scripts/demo"
  assert_exit 1
  assert_err 'demo: no namespaces can be made here'
}
