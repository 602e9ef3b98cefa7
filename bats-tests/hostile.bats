#!/usr/bin/env bats
# Who is root in a guest, or starts processes on the host, chooses names and files: none of that is obeyed.
# shellcheck disable=SC2154 # run_pw sets stderr

load rig
load promise
load dhcp

setup() { dhcp_setup; }
teardown() { dhcp_teardown; }

@test "names and records that a guest has made up: it is listed, looked at and taken away all the same" {
  local before alias words
  netns_guest web
  before=$(host_state)
  pw --quiet --no-probe br1 netns:web 10.1.1.2/24@10.1.1.1
  in_guest web ip link set dev eth1 down
  in_guest web ip link set dev eth1 name 'a"#\b'
  in_guest web ip link set dev 'a"#\b' alias $'x\001\033[31m'
  in_guest web ip link set dev 'a"#\b' up
  in_guest web ip route replace default via 10.1.1.9 dev 'a"#\b'
  in_guest web ip link add $'c\033[2J' type bridge
  in_guest web ip link add eth7 type bridge
  for alias in 'i=eth7;h=../../nics/none' 'i=../../x;h=br1' 'i=eth7;h=br1;w=--nat%1b[2J'; do
    in_guest web ip link set dev eth7 alias "pipework1;g=netns:web;$alias;a="
    for words in 'ls' 'inspect netns:web' 'save' 'doctor' 'disconnect netns:web --dry-run' 'rule netns:web show'; do
      # shellcheck disable=SC2086 # words
      run_pw $words
      [[ $stderr != *bug* && $stderr != *'    at '* && $output$stderr != *$'\033'* ]] || fail "$words: $output$stderr"
      ((status < 2)) || fail "$words: $output$stderr"
    done
  done
  # another attachment meets the same
  run_pw --no-probe br1 netns:web -i eth2 10.1.2.2/24@10.1.2.1
  assert_exit 0
  run_pw disconnect netns:web
  assert_exit 0
  assert_same_state "$before" "$(host_state)"
}

# in_user CMD… — a shell with these commands, which stays, in a network and a /sys of its own; its PID is in USER_PID.
in_user() {
  on_host_exec unshare --net --mount sh -c "$1; : > $BATS_TEST_TMPDIR/up; exec sleep 2147483" > /dev/null 2>&1 3>&- 4>&- &
  USER_PID=$!
  wait_until 10 test -e "$BATS_TEST_TMPDIR/up"
  rm "$BATS_TEST_TMPDIR/up"
}

@test "what somebody has put on /sys is not opened, and hides nothing" {
  local alias='pipework1;g=netns:web;i=d0;h=eth0;a=10.1.1.2/24' open
  # a pipe would wait for ever, a device may do something as soon as it is opened
  for open in "mkfifo /sys/class/net/d0/ifalias" "ln -s $BATS_TEST_TMPDIR/pipe /sys/class/net/d0/ifalias"; do
    rm -f "$BATS_TEST_TMPDIR/pipe"
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    in_user "ip link add d0 type bridge && ip link set dev d0 alias '$alias' &&
      mount -t tmpfs tmpfs /sys && mkdir -p /sys/class/net/d0 /sys/class/net/lo && $open"
    run timeout -s KILL 20 nsenter --mount="$RIG_DIR/ns/mnt" --net="$HOST_NS" "$PIPEWORK" ls --json
    kill "$USER_PID"
    wait "$USER_PID" || true
    assert_exit 0
    assert_json "$output" '[.attachments[].ifname] == ["d0"]'
  done
  # The /sys of another namespace says nothing about this one, even when both have a link of that name.
  for open in d0 eth0; do
    in_user "ip link add $open type bridge && ip link set dev $open alias '${alias/d0/$open}'"
    run_pw ls --json
    kill "$USER_PID"
    wait "$USER_PID" || true
    assert_json "$output" ".attachments | map(.ifname) == [\"$open\"]"
  done
}

@test "records in a guest that are no records: its attachment can be disconnected" {
  local before alias number=0
  netns_guest web
  before=$(host_state)
  # shellcheck disable=SC2016 # a name that a shell would expand
  for alias in 'g=netns:web;i=eth7;h=br1' 'g=net ns:web;i=eth7;h=br1' 'g=netns:web;c=a b;i=eth7;h=br1' \
    'g=netns:web;i=eth7;h=br1;d4=via+10.1.1.1+dev+eth1' 'g=netns:web;i=eth$(reboot);h=br1'; do
    pw --quiet --no-probe br1 netns:web 10.1.1.2/24
    in_guest web ip link add eth7 type bridge
    in_guest web ip link set dev eth7 alias "pipework1;$alias;a="
    in_guest web ip link set dev eth7 name $'e\xff'$((number += 1))
    run_pw disconnect netns:web
    assert_exit 0
    [[ $stderr != *bug* ]] || fail "$stderr"
    assert_same_state "$before" "$(host_state)"
  done
}

@test "a name in a record is quoted where it is printed as a command" {
  netns_guest web
  pw --quiet --no-probe eth0 netns:web -i eth2 192.168.77.60/24
  # shellcheck disable=SC2016 # a name that a shell would expand
  in_guest web ip link set dev eth2 alias 'pipework1;g=netns:web;i=$(reboot);h=eth0;a=192.168.77.60/24'
  run_pw inspect netns:web
  # shellcheck disable=SC2016 # the same
  [[ $output != *' $(reboot)'* ]] || fail "$output"
  assert_out "'\$(reboot)'"
  run_pw disconnect netns:web
  [[ $stderr != *bug* ]]
}

@test "--dhcp-dns writes into the container's own resolv.conf, and not into a file of the host that is mounted there" {
  guard_resolv_conf
  start_guest evil --volume /etc/resolv.conf:/etc/resolv.conf:ro
  start_guest web
  docker run --detach --name other --network container:web busybox > /dev/null
  lan_bridge
  serve_dhcp --dhcp-option=6,192.168.77.53
  remember evil
  run_pw --dhcp-dns br1 evil udhcpc
  assert_refused 1 "the resolv.conf of 'evil' cannot be found"
  assert_resolv_conf
  run_pw --dhcp-dns br1 other udhcpc
  assert_exit 0
  [[ $(docker exec web cat /etc/resolv.conf) == 'nameserver 192.168.77.53' ]] || fail "$(docker exec web cat /etc/resolv.conf)"
  assert_resolv_conf
  pw --quiet disconnect other
}

@test "half of a file, as kill -9 may leave it, is in nobody's way" {
  netns_guest web
  on_host mkdir -p /run/pipework/nics
  on_host sh -c "echo '{\"name\": \"et' > /run/pipework/nics/eth9.new"
  run_pw --direct-phys mac:02:00:00:00:99:99 netns:web 10.1.1.2/24
  assert_exit 1
  assert_err "no NIC of this host has the MAC address '02:00:00:00:99:99'"
  run_pw doctor
  on_host rm -r /run/pipework/nics
  [[ $stderr != *bug* ]] || fail "$stderr"
}
