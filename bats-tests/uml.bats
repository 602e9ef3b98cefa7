#!/usr/bin/env bats
# What this machine's kernel may lack: VLANs on NICs and bridges, dummy, ipvlan, a NIC that comes home. Two boots of
# User-Mode Linux, side by side, run all cases of uml-cases.bash; here each is a test that reads its result.
# (UML_ONLY=REGEX picks some.)

load rig
load uml

setup_file() {
  need_host
  need linux.uml user-mode-linux
  need busybox busybox-static
  [ -c /dev/net/tun ] || missing '/dev/net/tun is missing'
  local cases number odd=() even=()
  mapfile -t cases < <(uml_cases)
  for number in "${!cases[@]}"; do
    if ((number % 2)); then odd+=("${cases[number]}"); else even+=("${cases[number]}"); fi
  done
  mkdir "$BATS_FILE_TMPDIR"/{odd,even}
  # A kernel has one processor.
  [[ ${#odd[@]} == 0 ]] || uml_boot "$BATS_FILE_TMPDIR/odd" "${odd[@]}" &
  uml_boot "$BATS_FILE_TMPDIR/even" "${even[@]}"
  wait
  # How long each took, for whoever reads the TAP output.
  sed 's/^/# /' "$BATS_FILE_TMPDIR"/*/results >&3
}

# uml_cases — prints the names of the cases' functions.
uml_cases() {
  sed -nE 's/^(case_\w+)\(\) \{$/\1/p' "$BATS_TEST_DIRNAME/uml-cases.bash" | grep -E "${UML_ONLY:-}"
}

# reads_ok CASE — the case has ended well; else prints what it said, or how the boot ended.
reads_ok() {
  local out=$BATS_FILE_TMPDIR/even
  ! grep -qx "$1" "$BATS_FILE_TMPDIR/odd/cases" 2> /dev/null || out=$BATS_FILE_TMPDIR/odd
  grep -q "^ok $1 " "$out/results" && return
  if [ -e "$out/$1.log" ]; then tail -n 60 "$out/$1.log" >&2; else tail -n 20 "$out/boot.log" >&2; fi
  fail "not ok in User-Mode Linux: $(grep " $1 " "$out/results" || echo 'it has no result')"
}

while IFS= read -r name; do
  bats_test_function --description "$(tr _ ' ' <<< "${name#case_}")" -- reads_ok "$name"
done < <(uml_cases)
