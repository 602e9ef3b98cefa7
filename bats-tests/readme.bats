#!/usr/bin/env bats
# Every example of the README runs as it stands.

load rig
load outside

setup() {
  need_docker
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  ln -s "$PIPEWORK" "$BATS_TEST_TMPDIR/bin/pipework"
}

teardown() { clean_host; }

# examples [KIND] — the lines of the README's `sh KIND` blocks that call pipework, in order.
examples() {
  sed -n "/^\`\`\`sh${1:+ $1}\$/,/^\`\`\`\$/p" "$BATS_TEST_DIRNAME/../README.md" | grep -E '^(sudo )?pipework '
}

# run_examples [KIND] — types them, one after the other; COUNT is how many there were.
run_examples() {
  local line
  COUNT=0
  while IFS= read -r line; do
    echo "$line"
    # shellcheck disable=SC2086 # the line is words, as at a prompt
    on_host env PATH="$BATS_TEST_TMPDIR/bin:$PATH" ${line#sudo }
    COUNT=$((COUNT + 1))
  done < <(examples "$@")
}

@test "the examples of the README do what they say, one after the other" {
  start_guest web
  start_guest db
  netns_guest blue
  run_examples
  [ "$COUNT" -ge 15 ]
  # what they leave: db and blue attached, web no longer
  run_pw ls --json
  assert_json "$output" '[.attachments[].guest.name] == ["blue", "db", "db"]'
  assert_json "$output" '.attachments[] | select(.guest.name == "db" and .ifname == "eth1") | .addresses == ["192.168.1.12/24"]'
}

@test "the examples with a file" {
  start_guest web
  start_guest db
  cd "$BATS_TEST_TMPDIR"
  # shellcheck disable=SC2016 # backquotes are what is looked for
  sed -n '/^```pipework$/,/^```$/p' "$BATS_TEST_DIRNAME/../README.md" | grep -v '^```' > lan.pipework
  local before
  before=$(host_state)
  run_examples file
  [ "$COUNT" -ge 6 ]
  assert_same_state "$before" "$(host_state)"
}

@test "the examples with a way out, and in" {
  start_guest web
  start_guest db
  remember_outside
  run_examples outside
  [ "$COUNT" -ge 8 ]
  assert_outside_as_remembered
  clean_outside
}

@test "the examples with the firewall" {
  start_guest web
  start_guest db
  on_host iptables -P FORWARD DROP
  local rules
  rules=$(on_host iptables -S)
  run_examples firewall
  [ "$COUNT" -ge 4 ]
  [[ $(on_host iptables -S) == "$rules" ]]
  on_host nft flush ruleset
}

@test "the examples with the host's NIC in a bridge" {
  start_guest web
  start_guest db
  local before
  before=$(host_state)
  run_examples uplink
  [ "$COUNT" -ge 8 ]
  assert_same_state "$before" "$(host_state)"
  on_host rm -rf /run/pipework/uplinks
}

@test "the examples with NICs" {
  start_guest web
  start_guest db
  on_host ip link add eth1 type veth peer name lan1 netns "$LAN_NS"
  on_lan ip link set dev lan1 up
  local before
  before=$(host_state)
  run_examples nic
  [ "$COUNT" -ge 5 ]
  assert_same_state "$before" "$(host_state)"
}

@test "the examples with DHCP" {
  load promise
  load dhcp
  start_guest web
  start_guest db
  lan_bridge
  serve_dhcp
  run_examples dhcp
  [ "$COUNT" -ge 5 ]
  run_pw ls --json
  dhcp_teardown
  assert_json "$output" '.attachments == []'
}
