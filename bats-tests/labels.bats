#!/usr/bin/env bats
# Attachments that containers ask for by label: what is allowed is done, and nothing else.

load rig
load promise
load watching

setup() { need_docker; }

teardown() {
  [[ -z ${PW_PID-} ]] || end_watch
  clean_host
}

@test "labels ask for what is allowed, in the words of the command line; the file goes first" {
  # whatever stands in labels: without --labels nobody reads them
  start_guest web --label pipework='br1 192.168.1.50/24@192.168.1.1'
  write_lan 'br1 -i eth2 web 192.168.1.60/24'
  start_watch "$LAN" --allow 'br*'
  wait_until 60 has web eth2 192.168.1.60/24
  no_link web eth1
  end_watch
  start_watch "$LAN" --labels --allow 'br*'
  wait_until 60 has web eth1 192.168.1.50/24
  is "$(routes web 4 | head -n 1)" 'default via 192.168.1.1 dev eth1'
  # several, with options, a MAC address, and one that the file has already
  start_guest db --label pipework.1='br1 -i eth5 --mtu 1400 10.0.0.2/24 02:00:00:00:00:55' \
    --label pipework.10='--no-default-route br2 10.1.0.2/24@10.1.0.1' --label pipeworks=br1 --label pipework.x=br1
  wait_until 60 has db eth5 10.0.0.2/24
  wait_until 60 has db eth1 10.1.0.2/24
  assert_json "$(link db eth5)" '.mtu == 1400 and .address == "02:00:00:00:00:55"'
  is "$(routes db 4 | grep -c default || true)" 0
  docker rm --force web > /dev/null
  start_guest web --label pipework='br1 -i eth2 192.168.1.61/24'
  wait_until 60 has web eth2 192.168.1.60/24
  said "web: pipework is left out: $LAN:1 has eth2, and goes first"
  # restarts, as with files
  docker restart --time 0 db > /dev/null
  wait_until 60 said 'db: eth5 on br1, 10.0.0.2/24' 2
  wait_until 60 has db eth1 10.1.0.2/24
  end_watch
  assert_exit 0
}

@test "what labels may not ask for is refused and logged, and nothing is done" {
  local before n=0 label
  on_host ip link add eth1 type veth peer name lan1
  start_guest victim
  write_lan '# nothing'
  before=$(host_state)
  run_pw watch "$LAN" --labels --allow 'br*,eth0'
  assert_exit 2
  assert_err "--allow 'br*,eth0' is more than one glob"
  start_watch "$LAN" --labels --allow 'br*' --allow 'br7@10'
  while IFS= read -r label; do
    start_guest "c$((n += 1))" --label pipework="$label"
  done << 'END'
eth0 192.168.1.50/24
mac:02:77:00:00:00:10 192.168.1.50/24
eth1 --direct-phys 192.168.1.50/24
br1 192.168.1.50/24 --direct-phys
br1 192.168.1.50/24 --force
br1 -l eth7 192.168.1.50/24
br1 192.168.1.50/24 @20
br1@eth1 192.168.1.50/24
disconnect victim
-- victim 192.168.1.50/24
br1 victim 192.168.1.50/24
br1 docker:victim 192.168.1.50/24 02:00:00:00:00:01
br1 192.168.1.50/24 --verbose
br1 ${HOME} 192.168.1.50/24
br1 $(touch /tmp/pwned) 192.168.1.50/24
br1 192.168.1.50
br1 dhcp:-s,/tmp/evil
exec victim ip link add br9 type bridge
END
  # of several lines, and none
  start_guest lines --label pipework=$'br1 192.168.1.50/24\nbr1 192.168.1.51/24'
  start_guest empty --label pipework=
  for ((; n > 0; n -= 1)); do wait_until 60 said "c$n: pipework is refused: "; done
  wait_until 60 said 'lines: pipework is refused: it has more than one line'
  wait_until 60 said 'empty: pipework is refused: it is empty'
  said "c1: pipework is refused: a label may not use 'eth0': allowed: 'br*', 'br7@10'"
  said "c5: pipework is refused: a label may not use '--force'"
  # one that is refused is no reason to refuse another; and control characters do not reach the log
  start_guest mixed --label pipework.1='eth0 10.0.0.2/24' --label pipework.2='br7 0/0' --label pipework.3=$'\e[2Jbr1 0/0'
  wait_until 60 has mixed eth1
  wait_until 60 said 'mixed: pipework.3 is refused'
  run ! grep -q $'\e' "$BATS_TEST_TMPDIR/pw.out"
  docker rm --force mixed > /dev/null
  on_host ip link del br7
  assert_same_state "$before" "$(host_state)"
  for label in c1 c5 c11 victim lines; do assert_json "$(in_guest "$label" ip -j link)" 'map(.ifname) == ["lo"]'; done
  end_watch
  assert_exit 0
}

@test "the variables of dreamcat4's image, with their macros, without a shell" {
  write_lan '# nothing'
  start_guest early --env pipework_cmd='br1 @CONTAINER_NAME@ 192.168.1.49/24'
  start_watch --env-compat --allow br1 "$LAN"
  wait_until 60 has early eth1 192.168.1.49/24
  start_guest node7 --env pipework_cmd='br1 -i eth1 @CONTAINER_NAME@ 192.168.1.5@INSTANCE@/24' \
    --env pipework_cmd_2='pipework br1 -i eth2 @CONTAINER_ID@ 192.168.1.60/24' \
    --env pipework_cmd_3='br1 -i eth3 early 192.168.1.61/24' \
    --env pipework_cmd_4='br1 -i eth4 @HOSTNAME@;reboot 192.168.1.62/24' --label pipework='br1 -i eth5 192.168.1.63/24'
  wait_until 60 has node7 eth1 192.168.1.57/24
  wait_until 60 has node7 eth2 192.168.1.60/24
  said "node7: pipework_cmd_3 is refused: 'early' is not this container"
  said 'node7: pipework_cmd_4 is refused: '
  # labels themselves were not asked for
  assert_json "$(in_guest node7 ip -j link)" 'map(.ifname) == ["lo", "eth1", "eth2"]'
  assert_json "$(in_guest early ip -j link)" 'map(.ifname) == ["lo", "eth1"]'
  end_watch
  assert_exit 0
}
