# shellcheck shell=bash
# shellcheck disable=SC2154 # set by bats and rig
# What tests of a watch have in common. Loaded after rig and promise.

# write_lan LINE… — the file that is watched, LAN.
write_lan() {
  LAN=$BATS_TEST_TMPDIR/lan.pipework
  printf '%s\n' "$@" > "$LAN"
}

# start_watch ARG… — starts a watch and waits until it follows Docker's events.
start_watch() {
  start_pw watch "$@"
  wait_until 60 grep -qE 'Docker.*follows its events' "$BATS_TEST_TMPDIR/pw.out"
}

# said TEXT [TIMES] — the watch has said so, that often at least.
said() {
  (($(grep -cF -- "$1" "$BATS_TEST_TMPDIR/pw.out") >= ${2-1}))
}

# never_said TEXT — it has not.
never_said() {
  ! grep -F -- "$1" "$BATS_TEST_TMPDIR/pw.out" >&2
}

# end_watch — ends it in order; sets status, output and stderr.
end_watch() {
  kill -TERM "$PW_PID" 2> /dev/null || true
  wait_pw
  PW_PID=
}

# has GUEST IFNAME [ADDRESS…] — the interface is up, with exactly these IPv4 addresses.
has() {
  [[ $(in_guest "$1" ip -j address show dev "$2" | jq --arg wanted "${*:3}" '.[0] | (.flags | index("UP") != null) and
    ([.addr_info[] | select(.family == "inet") | "\(.local)/\(.prefixlen)"] | join(" ")) == $wanted') == true ]]
} 2> /dev/null

# identity GUEST — what neighbours and the host's administrator know the attachment by.
identity() {
  link "$1" eth1 | jq -c '[.address, [.addr_info[] | select(.family == "inet") | .local]]'
  pw ls --json | jq -r --arg name "$1" '.attachments[] | select(.guest.name == $name) | .hostEnd'
}

# is GOT WANTED — the two are equal.
is() {
  [[ $1 == "$2" ]] || fail "$1" 'is not' "$2"
}
