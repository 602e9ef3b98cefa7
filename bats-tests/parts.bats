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

# assert_uncompiled NAME… — each is a part of the script, and stands in it unread.
assert_uncompiled() {
  local name
  for name; do
    grep -qF "\"$name\":{line:" "$PIPEWORK" || fail "there is no part '$name' that is compiled when it is needed"
    ! grep -qxF "$name" "$BATS_TEST_TMPDIR/compiled.txt" || fail "'$name' was compiled, among: $(< "$BATS_TEST_TMPDIR/compiled.txt")"
  done
}

@test "--version compiles nothing" {
  pw_spied --version
  [[ ! -s $BATS_TEST_TMPDIR/compiled.txt ]]
}

@test "an attach to a bridge compiles nothing that it does not need, and neither does ls" {
  netns_guest blue
  on_host ip link add br1 type bridge
  on_host ip link set br1 up
  pw_spied br1 netns:blue 10.1.1.2/24@10.1.1.1 --no-probe
  grep -qx commands/attach "$BATS_TEST_TMPDIR/compiled.txt"
  assert_uncompiled help execa commands/{disconnect,exec,ls,netns,wait}

  pw_spied ls
  grep -qx commands/ls "$BATS_TEST_TMPDIR/compiled.txt"
  assert_uncompiled help execa execute commands/{attach,disconnect,exec,netns,wait}
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
