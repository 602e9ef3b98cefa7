#!/usr/bin/env bats
# The one file, and what V8 compiled of it in earlier runs.

load rig

setup() { need_host; }
teardown() { clean_host; }

# pw_spied ARG… — pipework; the test's how.txt has a line for each part that it needs: `kept` by an earlier run, or
# `compiled`.
pw_spied() {
  cat > "$BATS_TEST_TMPDIR/spy.cjs" << 'END'
const [fs, vm] = [require('node:fs'), require('node:vm')]
vm.Script = class extends vm.Script {
  runInThisContext() {
    const how = this.cachedDataRejected === false ? 'kept' : 'compiled'
    fs.appendFileSync(`${process.env.SPIED}/how.txt`, `${how}\n`)
    return super.runInThisContext()
  }
}
END
  : > "$BATS_TEST_TMPDIR/how.txt"
  SPIED=$BATS_TEST_TMPDIR NODE_OPTIONS="--require $BATS_TEST_TMPDIR/spy.cjs" run_pw "$@"
  assert_exit 0
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
  [[ ! -s $BATS_TEST_TMPDIR/how.txt ]]
}

@test "a bug's stack trace names the lines of the script" {
  cat > "$BATS_TEST_TMPDIR/broken.cjs" <<< 'require("node:fs").readdirSync = () => 5'
  NODE_OPTIONS="--require $BATS_TEST_TMPDIR/broken.cjs" run_pw ls
  assert_exit 1
  assert_err 'this is a bug'
  local frames called line
  # shellcheck disable=SC2154 # set by run
  frames=$(grep -E '^ +at ' <<< "$stderr")
  called=$(sed -nE '1s/.* at (async )?([A-Za-z]+) .*/\2/p' <<< "$frames")
  line=$(sed -nE '2s/.*:([0-9]+):[0-9]+\)$/\1/p' <<< "$frames")
  [[ -n $called && -n $line ]]
  # The second function calls the first one on that line.
  sed -n "${line}p" "$PIPEWORK" | grep -q "$called("
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

@test "a damaged cache is never run: it is compiled again, and replaced" {
  netns_guest blue
  local folder=/run/pipework/code file size at wanted
  on_host rm -rf "$folder"
  pw_spied --dry-run br1 netns:blue 10.1.1.2/24
  wanted=$output
  file=$(on_host find "$folder" -type f)
  size=$(on_host stat -c %s "$file")
  on_host cp "$file" "$BATS_TEST_TMPDIR/whole"
  for ((at = 2; at < size; at += size / 25)); do
    on_host cp "$BATS_TEST_TMPDIR/whole" "$file"
    # One bit of that byte.
    on_host python3 -c "
with open('$file', 'r+b') as file:
    file.seek($at)
    byte = file.read(1)[0]
    file.seek($at)
    file.write(bytes([byte ^ 4]))"
    pw_spied --dry-run br1 netns:blue 10.1.1.2/24
    is "$output" "$wanted"
    assert_how compiled
  done
  pw_spied --dry-run br1 netns:blue 10.1.1.2/24
  assert_how kept
  is "$(on_host find "$folder" -type f | wc -l)" 1
}

@test "where there is no room for the cache nothing is left of it" {
  on_host mount -t tmpfs -o size=16k tmpfs /run/pipework
  pw_spied ls
  is "$(on_host find /run/pipework -type f | wc -l)" 0
  on_host umount /run/pipework
}
