# shellcheck shell=bash
# What attach, disconnect and dry-run tests ask of a state. Loaded after rig.

# remember GUEST… — keeps the state of the host and of these guests.
remember() {
  local guest
  REMEMBERED=("$@")
  host_state > "$BATS_TEST_TMPDIR/host.state"
  for guest in "$@"; do guest_state "$guest" > "$BATS_TEST_TMPDIR/guest.$guest.state"; done
}

# assert_as_remembered — all of that is exactly as it was.
assert_as_remembered() {
  local guest
  assert_same_state "$(< "$BATS_TEST_TMPDIR/host.state")" "$(host_state)"
  for guest in "${REMEMBERED[@]}"; do
    assert_same_state "$(< "$BATS_TEST_TMPDIR/guest.$guest.state")" "$(guest_state "$guest")"
  done
}

# state_without_chance GUEST — the state of host and guest, but for the MAC address that the kernel draws for a host
# end: equal after two runs that do the same.
state_without_chance() {
  host_state | jq 'del(.links[] | select(.kind == "veth" and .name != "eth0") | .mac)'
  guest_state "$1"
}

# assert_undone [GUEST] — disconnect takes back all that was done to the guest, and to the host for it.
assert_undone() {
  run_pw disconnect "${1-web}"
  assert_exit 0
  assert_as_remembered
}

# assert_refused CODE MESSAGE [HINT] — the last run was refused so, and nothing has changed.
assert_refused() {
  local text
  assert_exit "$1"
  for text in "${@:2}"; do assert_err "$text"; done
  [[ -z $output ]] || fail "on stdout: $output"
  assert_as_remembered
}

# link GUEST IFNAME — its link and addresses, as one JSON object.
link() {
  in_guest "$1" ip -d -j address show dev "$2" | jq '.[0]'
}

# host_link NAME — the same of a link of the host.
host_link() {
  on_host ip -d -j address show dev "$1" | jq '.[0]'
}

# no_link GUEST IFNAME — there is none.
no_link() {
  run ! in_guest "$1" ip link show dev "$2"
}

# addresses GUEST [IFNAME] — ip/prefix of what is not link-local, sorted, in one line.
addresses() {
  link "$1" "${2-eth1}" | jq -r '[.addr_info[] | select(.local and .scope != "link") | "\(.local)/\(.prefixlen)"] | sort | join(" ")'
}

# routes GUEST 4|6 — its main table, in one line a route.
routes() {
  in_guest "$1" ip "-$2" route show table main | sed 's/ *$//'
}

# ping_from GUEST ADDRESS — the container itself, not only its network, gets an answer.
ping_from() {
  wait_until 30 docker exec "$1" ping -c 1 -W 2 -q "$2" > /dev/null
}

# host_end GUEST IFNAME — the name of the link's end in the host.
host_end() {
  pw ls --json | jq -r --arg guest "$1" --arg ifname "$2" \
    '.attachments[] | select(.guest.name == $guest and .ifname == $ifname) | .hostEnd'
}

# bridge NAME — makes a bridge by hand, up.
bridge() {
  on_host ip link add dev "$1" type bridge
  on_host ip link set dev "$1" up
}
