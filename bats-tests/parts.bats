#!/usr/bin/env bats
# What a run compiles of the one file: nobody waits for what was not asked for. See scripts/parts.ts.

load rig

setup() { need_host; }
teardown() { clean_host; }

# pw_spied ARG… — pipework; the parts that it compiles are listed in the test's compiled.txt. A part is known by the
# line of the script at which it stands, whose first word is its name.
pw_spied() {
  cat > "$BATS_TEST_TMPDIR/spy.cjs" << 'END'
const [fs, vm] = [require('node:fs'), require('node:vm')]
const { compileFunction } = vm
vm.compileFunction = (body, names, options) => {
  fs.appendFileSync(process.env.COMPILED, `${options.lineOffset + 1}\n`)
  return compileFunction(body, names, options)
}
END
  local seen=$BATS_TEST_TMPDIR/lines.txt
  : > "$seen"
  COMPILED=$seen NODE_OPTIONS="--require $BATS_TEST_TMPDIR/spy.cjs" run_pw "$@"
  assert_exit 0
  awk -F '"' 'NR == FNR { wanted[$1]; next } FNR in wanted { print $2 }' "$seen" "$PIPEWORK" |
    sort > "$BATS_TEST_TMPDIR/compiled.txt"
}

# assert_compiled PATTERN — of the parts that are not needed by every command, only those that the extended regular
# expression names were compiled. The others stand in the script unread.
assert_compiled() {
  local optional='^(door to )?(commands/|prompt/|dhcp/|doctor/|uplink|watch|outside/(live|plan)|firewall/|links/|execa|yargs|lines|labels|remake|detach)'
  local common='^(door to )?(commands/call|links/(claim|vlans|veth))$' wrong
  grep -qxE "$1" "$BATS_TEST_TMPDIR/compiled.txt" || fail "not compiled: $1"
  wrong=$(grep -E "$optional" "$BATS_TEST_TMPDIR/compiled.txt" | grep -vE "$common" | grep -vxE "(door to )?($1)" || true)
  [[ -z $wrong ]] || fail "compiled, and not needed:" "$wrong"
}

@test "--version compiles nothing" {
  pw_spied --version
  [[ ! -s $BATS_TEST_TMPDIR/compiled.txt ]]
}

@test "an attach to a bridge compiles nothing that it does not need, and neither does ls" {
  netns_guest blue
  # as after a lease that has ended
  on_host mkdir -p /run/pipework/dhcp
  on_host ip link add br1 type bridge
  on_host ip link set br1 up
  pw_spied br1 netns:blue 10.1.1.2/24@10.1.1.1 --no-probe
  assert_compiled 'commands/attach(ed)?|links/bridge'
  pw_spied ls
  assert_compiled 'commands/ls|prompt/screen'
}

@test "a bug's stack trace names the lines of the script" {
  cat > "$BATS_TEST_TMPDIR/broken.cjs" <<< 'require("node:fs").readdirSync = () => 5'
  NODE_OPTIONS="--require $BATS_TEST_TMPDIR/broken.cjs" run_pw ls
  assert_exit 1
  assert_err 'this is a bug'
  local line
  # shellcheck disable=SC2154 # set by run
  line=$(sed -nE 's/.* at (async )?readAttachments \(.*:([0-9]+):[0-9]+\)$/\2/p' <<< "$stderr")
  [[ -n $line ]]
  # What it calls there stands there.
  sed -n "${line}p" "$PIPEWORK" | grep -q 'readNamespaces('
}
