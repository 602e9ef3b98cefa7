#!/usr/bin/env bats
# The real firewalld: what it drops on a bridge is said with its own command, which mends it for good; our rules stay
# through its reloads and restarts.

# shellcheck disable=SC2016,SC2154 # expanded on the host; status, output and stderr are set by run_pw
load rig
load promise
load managers
load outside

setup() {
  need_host
  need firewall-cmd firewalld
  need socat socat
}

teardown() {
  stop_managers
  clean_outside
  clean_host
}

# reaches GUEST ADDRESS — true when it gets an answer.
reaches() { in_guest "$1" ping -c 1 -W 5 -q "$2" > /dev/null; }

@test "firewalld: what it drops is said, and mended by its own command; NAT, ports and that outlast reload and restart" {
  local command words=(--no-probe br1 --bridge-address 10.0.0.1/24 --nat --publish 8080:80 netns:web 10.0.0.2/24@10.0.0.1) how
  netns_guest web
  netns_guest db
  start_firewalld
  serve 7000 on_lan
  serve 80 in_guest web
  # eth0 is in no zone: what leaves by it does not count as going to one
  remember web
  run_pw --strict "${words[@]}"
  assert_refused 1 "drops IPv4 from 'br1' to 'eth0'" 'table inet firewalld of nftables'
  run_pw --json "${words[@]}"
  assert_exit 0
  no_answer TCP4:192.168.77.1:7000 in_guest web
  command=$(jq -r '.warnings[0].command' <<< "$output")
  [[ $command == *--add-interface=eth0* ]] || fail "says: $output"
  on_host sh -c "$command"
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  run_pw ls --json
  assert_json "$output" '.attachments[0] | has("firewall") | not'
  # of another zone it cannot be taken: no command is better than one that fails
  on_host sh -c 'firewall-cmd --remove-interface=eth0; firewall-cmd --zone=external --add-interface=eth0'
  run_pw --json ls
  assert_json "$output" '.attachments[0].firewall | (.message | contains("drops IPv4 from")) and (has("command") | not)'
  on_host sh -c 'firewall-cmd --permanent --remove-interface=br1; firewall-cmd --reload'
  run_pw --no-probe --json br1 netns:db 10.0.0.3/24
  assert_exit 0
  assert_err "drops IPv4 between the ports of 'br1': rule "
  assert_err 'table inet firewalld of nftables'
  run ! reaches web 10.0.0.3
  run_pw --no-probe --firewall allow br2 netns:db -i eth2 10.6.0.1/24
  assert_exit 1
  assert_err 'firewall-cmd --permanent --add-interface=br2 && firewall-cmd --add-interface=br2'
  on_host test ! -e /sys/class/net/br2

  # the very command, as the doctor has it
  run_pw doctor br1 --json
  command=$(jq -r '.findings[] | select(.id == "firewall-drop").command' <<< "$output")
  on_host sh -c "$command"
  reaches web 10.0.0.3
  for how in 'firewall-cmd --reload' 'firewall-cmd --complete-reload' anew; do
    if [[ $how == anew ]]; then
      rig_stop firewalld
      start_firewalld
    else
      on_host sh -c "$how"
    fi
    reaches web 10.0.0.3
    [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
    [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
    run_pw ls --json
    assert_json "$output" '[.attachments[] | select(.missing)] == []'
    run_pw "${words[@]}"
    assert_out 'nothing changed'
    [[ -z $stderr ]] || fail "warns: $stderr"
  done
  # a flush takes both away: firewalld has to be started anew for its own
  on_host nft flush ruleset
  run_pw ls
  assert_out 'missing on this host'
  pw -q "${words[@]}"
  rig_stop firewalld
  start_firewalld
  [[ $(ask TCP4:192.168.77.1:7000 in_guest web) == 192.168.77.10 ]]
  [[ $(ask TCP4:192.168.77.10:8080 on_lan) == 192.168.77.1 ]]
}
