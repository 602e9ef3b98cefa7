#!/usr/bin/env bats
# What this machine's kernel may lack: VLANs on NICs and bridges, dummy, ipvlan, a NIC that comes home. One boot of
# User-Mode Linux runs all cases of uml-cases.bash; here each is a test that reads its result. (UML_ONLY=REGEX picks some.)

load rig
load uml

setup_file() {
  need_host
  need linux.uml user-mode-linux
  need busybox busybox-static
  [ -c /dev/net/tun ] || missing '/dev/net/tun is missing'
  mkdir "$BATS_FILE_TMPDIR/out"
  mapfile -t cases < <(uml_cases)
  uml_boot "$BATS_FILE_TMPDIR/out" "${cases[@]}"
}

# uml_cases — prints the names of the cases' functions.
uml_cases() {
  sed -nE 's/^(case_\w+)\(\) \{$/\1/p' "$BATS_TEST_DIRNAME/uml-cases.bash" | grep -E "${UML_ONLY:-}"
}

# reads_ok CASE — the case has ended well; else prints what it said, or how the boot ended.
reads_ok() {
  local out=$BATS_FILE_TMPDIR/out
  grep -q "^ok $1 " "$out/results" && return
  if [ -e "$out/$1.log" ]; then tail -n 60 "$out/$1.log" >&2; else tail -n 20 "$out/boot.log" >&2; fi
  fail "not ok in User-Mode Linux: $(grep " $1 " "$out/results" || echo 'it has no result')"
}

while IFS= read -r name; do
  bats_test_function --description "$(tr _ ' ' <<< "${name#case_}")" -- reads_ok "$name"
done < <(uml_cases)
