# shellcheck shell=bash
# How thorough a run is: `npm run soak` tries everything, the gate a part of it that is the same in each run. Loaded by
# rig.bash, and by uml-cases.bash.

# soaking — true in `npm run soak`.
soaking() {
  [[ -n ${PIPEWORK_SOAK-} ]]
}

# steps_of FIRST END [SKEW] — prints the steps from FIRST up to END, END not included, at which a loop makes pipework
# fail or die. In a soak these are all; else the first, the middle and the last, and of more than eight every fourth as
# well. Each case begins to count elsewhere, so that together they reach every kind of step; SKEW shifts a second loop
# of a case.
steps_of() {
  local step count=$(($2 - $1)) skew=$((${#BATS_TEST_NAME} + ${3-0}))
  # A loop over nothing would pass.
  ((count > 0)) || echo none
  for ((step = $1; step < $2; step++)); do
    if soaking || ((step == $1 || step == $1 + count / 2 || step == $2 - 1 || count > 8 && (step + skew) % 4 == 0)); then
      echo "$step"
    fi
  done
}

# rounds_of SOAK GATE — prints how many rounds something that depends on chance takes: SOAK in a soak, else GATE.
rounds_of() {
  if soaking; then echo "$1"; else echo "$2"; fi
}
