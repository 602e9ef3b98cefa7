#!/usr/bin/env bats
# What a run compiles of the one file: nobody waits for what was not asked for. See scripts/parts.ts.

load rig

setup() { need_host; }
teardown() { clean_host; }

# pw_spied ARG… — pipework; the parts that it runs, for which it compiles them, or has them from an earlier run, are
# listed in the test's compiled.txt; how it came by their groups in how.txt.
pw_spied() {
  cat > "$BATS_TEST_TMPDIR/spy.cjs" << 'END'
const [fs, vm] = [require('node:fs'), require('node:vm')]
const tell = (file, word) => fs.appendFileSync(`${process.env.SPIED}/${file}.txt`, `${word}\n`)
vm.Script = class extends vm.Script {
  runInThisContext() {
    tell('how', this.cachedDataRejected === false ? 'kept' : 'compiled')
    const spied = ([name, body]) => [name, (...words) => void tell('compiled', name) || body(...words)]
    return Object.fromEntries(Object.entries(super.runInThisContext()).map(spied))
  }
}
END
  : > "$BATS_TEST_TMPDIR/how.txt"
  : > "$BATS_TEST_TMPDIR/compiled.txt"
  SPIED=$BATS_TEST_TMPDIR NODE_OPTIONS="--require $BATS_TEST_TMPDIR/spy.cjs" run_pw "$@"
  assert_exit 0
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

# is GOT WANTED — two texts are the same.
is() {
  [[ $1 == "$2" ]] || fail "$1" 'is not' "$2"
}

@test "the script is ASCII throughout: V8 reads it in half the time" {
  run env LC_ALL=C grep -n '[^[:print:][:cntrl:]]' "$PIPEWORK"
  assert_exit 1
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
  assert_compiled 'commands/ls|commands/listed|prompt/(screen|listing)'
}

@test "a TAB at the first word reads no record and no address" {
  on_host ip link add br1 type bridge
  pw_spied __complete -- ''
  assert_out br1
  assert_compiled 'commands/complete|prompt/(hostifs|subnets)'
  run grep -xE '(door to )?(hostlinks|record|values|guest|outside/wish)' "$BATS_TEST_TMPDIR/compiled.txt"
  is "$output" ''
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

# assert_how WORD — all parts were `kept` from an earlier run, or all of them `compiled`.
assert_how() {
  is "$(sort -u "$BATS_TEST_TMPDIR/how.txt")" "$1"
}

@test "what was compiled is kept for the next run of the command: ours alone, whole, and of this build" {
  netns_guest blue
  local folder=/run/pipework/code file mode
  on_host rm -rf "$folder"
  on_host mkdir -p "$folder"
  on_host touch "$folder/of-another-build"
  pw_spied ls --json
  assert_how compiled
  file=$(on_host find "$folder" -type f)
  [[ $file == */*-ls ]]
  is "$(on_host stat -c '%a %u' "$folder" "$file")" $'755 0\n600 0'
  pw_spied ls --json
  assert_how kept
  assert_json "$output" '.ok and .attachments == []'
  # compiled under another path, which a stack trace would name
  cp "$PIPEWORK" "$BATS_TEST_TMPDIR/copy"
  PIPEWORK=$BATS_TEST_TMPDIR/copy pw_spied ls
  assert_how compiled
  # Not believed: what others can have written, what is a link, what is cut off, what is something else.
  for mode in 'chmod 622' 'chown 1' 'ln -sf /etc/passwd' 'truncate --size=20000' 'truncate --size=0' 'cp /etc/passwd'; do
    pw_spied ls
    # shellcheck disable=SC2086 # words
    on_host $mode "$file"
    pw_spied ls
    assert_how compiled
  done
  pw_spied ls
  assert_how kept
  on_host chmod 777 "$folder"
  pw_spied ls
  assert_how compiled
  # No place for it: nobody hears of that.
  on_host rm -r "$folder"
  on_host touch "$folder"
  pw_spied ls
  is "$stderr" ''
  on_host rm "$folder"
  NODE_DISABLE_COMPILE_CACHE=1 pw_spied ls
  on_host test ! -e "$folder"
  # At the prompt, another user has his own.
  on_host install -m 755 "$PIPEWORK" /run/pipework-copy
  on_host install -d -m 700 -o 65534 /run/own
  run on_host env XDG_RUNTIME_DIR=/run/own setpriv --reuid=65534 --clear-groups /run/pipework-copy __complete -- dis
  assert_out disconnect
  is "$(on_host sh -c "stat -c '%a %u' /run/own/pipework-code/*-complete")" '600 65534'
  on_host rm -r /run/pipework-copy /run/own
}
