#!/usr/bin/env bats
# shellcheck disable=SC2016 # expanded on the host
# What the host's firewall does to frames on a bridge: said, allowed with --firewall allow, refused with --strict.

load rig
load promise

setup() {
  need_host
  need iptables-legacy iptables
  need nft nftables
}

teardown() {
  # A test's own nft is none.
  PATH=${PATH//"$BATS_TEST_TMPDIR/bin:"/}
  if [[ -e $RIG_DIR/dockerfw.pid ]]; then
    DOCKER_HOST=unix://$RIG_DIR/dockerfw.sock sh -c 'docker ps -aq | xargs -r docker rm -f' > /dev/null
    rig_stop dockerfw
  fi
  on_host sh -c 'nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0 net.bridge.bridge-nf-call-iptables=1
    for tables in iptables-legacy ip6tables-legacy; do $tables -P FORWARD ACCEPT; $tables -F; $tables -X; done'
  clean_host
}

# rules — the whole firewall of the host, without counters.
rules() {
  on_host sh -c 'iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save; nft -s list ruleset' 2> /dev/null |
    sed '/^#/d; s/\[[0-9:]*\]//; s/counter packets [0-9]* bytes [0-9]* //; /Warning: /d'
}

# mend — prints the command that the last warning names.
mend() {
  sed -n 's/^pipework: warning: .*; fix: //p' <<< "$stderr"
}

# reaches GUEST ADDRESS — it gets an answer; a neighbour that was out of reach may be taken to be so a little longer.
# lost GUEST ADDRESS — none of three packets comes back.
reaches() { wait_until 20 answers "$@"; }
answers() { in_guest "$1" ping -c 1 -W 2 -q "$2" > /dev/null; }
lost() {
  local said
  said=$(in_guest "$1" ping -c 3 -i 0.2 -W 1 -q "$2" || true)
  [[ $said == *'100% packet loss'* ]] || fail "not lost: $said"
}

# docker_with_firewall KIND — a second dockerd on the host with its iptables on, of that kind: FORWARD becomes DROP.
docker_with_firewall() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  local name
  for name in iptables ip6tables; do ln -sf "$(command -v "$name-$1")" "$BATS_TEST_TMPDIR/bin/$name"; done
  export PATH=$BATS_TEST_TMPDIR/bin:$PATH DOCKER_HOST=unix://$RIG_DIR/dockerfw.sock
  on_host sysctl -qw net.ipv4.ip_forward=0
  rig_daemon dockerfw dockerd --data-root "$RIG_DIR/datafw.$1" --exec-root "$RIG_DIR/execfw" --pidfile "$RIG_DIR/dockerfw.lock" \
    --host "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${RIG_DIR##*/}" --bridge=none
  wait_until 60 docker version > /dev/null 2>&1 || fail "$(tail -n 3 "$RIG_DIR/dockerfw.log")"
  [[ -n $(docker images -q busybox) ]] || rig_busybox | docker import --change "CMD $RIG_CMD" - busybox:latest > /dev/null
  [[ $(on_host "iptables-$1" -S FORWARD) == '-P FORWARD DROP'* ]] || fail 'Docker has not set FORWARD to DROP'
}

# docker_trap KIND — Docker's firewall eats what is on a bridge: that is said, mended by what is said, allowed, undone.
docker_trap() {
  need_docker
  docker_with_firewall "$1"
  start_guest web
  start_guest db
  local before command n steps
  before=$(rules)
  pw -q br1 web 10.5.0.1/24 2> /dev/null
  run_pw br1 db 10.5.0.2/24
  assert_exit 0
  assert_err "pipework: warning: the firewall of this host drops IPv4 between the ports of 'br1': policy DROP of chain FORWARD"
  [[ $(wc -l <<< "$stderr") == 1 ]] || fail "more than one line: $stderr"
  lost web 10.5.0.2

  # the very command that is printed, with the plain name of the tool that Docker uses
  command=$(mend)
  [[ $command == 'iptables -I DOCKER-USER -i br1 -o br1 -j ACCEPT' ]] || fail "the command: $command"
  on_host sh -c "$command"
  reaches web 10.5.0.2
  reaches db 10.5.0.1
  run_pw br1 db 10.5.0.2/24
  assert_exit 0
  [[ -z $stderr ]] || fail "still warns: $stderr"
  on_host sh -c "${command/-I/-D}"
  lost web 10.5.0.2
  [[ $(rules) == "$before" ]]

  # refused before the first change
  remember web db
  run_pw --strict br2 -i eth2 web 10.6.0.1/24
  assert_refused 1 "drops IPv4 between the ports of 'br2'" '--firewall allow' 'iptables -I DOCKER-USER -i br2 -o br2 -j ACCEPT'

  # whatever step fails, the firewall is as it was; a kill is healed by the same command
  local words=(--firewall allow --no-probe br2 -i eth2 web 10.6.0.1/24)
  steps=$(pw --dry-run --json "${words[@]}" | jq '.steps | length')
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "${words[@]}"
    assert_exit 1
    [[ $(rules) == "$before" ]] || fail "after step $n: $(rules)"
    assert_as_remembered
  done
  PIPEWORK_KILL_AFTER=$((steps - 1)) run_pw "${words[@]}"
  run_pw "${words[@]}"
  assert_exit 0
  pw -q disconnect web eth2
  [[ $(rules) == "$before" ]]
  assert_as_remembered

  # allowed: a rule of ours for this bridge, once, and gone with the last of our ports
  run_pw --firewall allow br1 web 10.5.0.1/24
  assert_exit 0
  [[ -z $stderr ]] || fail "warns: $stderr"
  reaches web 10.5.0.2
  run_pw --firewall allow br1 web 10.5.0.1/24
  assert_out 'nothing changed'
  run_pw --firewall allow --strict br1 db 10.5.0.2/24
  assert_exit 0
  [[ $(on_host "iptables-$1" -S PIPEWORK-BRIDGE | grep -c 'pipework br1:') == 1 ]]
  [[ $(on_host "iptables-$1" -S DOCKER-USER | grep -c -- '-j PIPEWORK-BRIDGE') == 1 ]]
  [[ $(on_host "iptables-$1" -S FORWARD) == '-P FORWARD DROP'* ]]
  on_host sh -c '[ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables)" = 1 ]'
  pw -q disconnect web
  on_host "iptables-$1" -S PIPEWORK-BRIDGE | grep -q 'pipework br1:'
  run_pw disconnect db
  assert_out 'remove the rule for br1 from the firewall'
  [[ $(rules) == "$before" ]] || fail "left: $(diff <(echo "$before") <(rules))"
}

@test "Docker's FORWARD DROP, iptables-nft: said, mended, allowed, and taken back" {
  docker_trap nft
}

@test "Docker's FORWARD DROP, iptables-legacy: said, mended, allowed, and taken back" {
  docker_trap legacy
}

@test "a chain of nftables' own drops: the command that mends it is nft's, and allow says so" {
  netns_guest web
  netns_guest db
  on_host nft -f - <<< 'table inet filter { chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; }; }'
  pw -q br1 netns:web 10.5.0.1/24,fd05::1/64 2> /dev/null
  run_pw --json br1 netns:db 10.5.0.2/24,fd05::2/64
  assert_exit 0
  assert_err "drops IPv4 and IPv6 between the ports of 'br1': policy DROP of chain forward, table inet filter of nftables"
  assert_json "$output" '.warnings[0].message | startswith("the firewall of this host drops")'
  lost web 10.5.0.2
  lost web fd05::2
  assert_json "$output" '.warnings[0].command | contains("&&") | not'
  remember web db
  run_pw --firewall allow br2 -i eth2 netns:web 10.6.0.1/24
  assert_refused 1 'changes rules of iptables only' "Do it by hand: nft insert rule"
  run_pw -q br1 netns:db 10.5.0.2/24,fd05::2/64
  on_host sh -c "$(mend)"
  reaches web 10.5.0.2
  reaches web fd05::2
  run_pw br1 netns:db 10.5.0.2/24,fd05::2/64
  [[ -z $stderr ]] || fail "still warns: $stderr"
}

@test "what cannot be told beforehand may be dropped; both families; other chains than FORWARD's; as a script" {
  netns_guest web
  on_host sh -c 'iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m mark --mark 1 -j ACCEPT; ip6tables-legacy -A FORWARD -m physdev --physdev-is-bridged -j REJECT'
  local before
  before=$(rules)
  run_pw --no-probe br1 netns:web 10.5.0.1/24
  assert_err "may drop IPv4 between the ports of 'br1': policy DROP"
  run_pw --no-probe br1 netns:web 10.5.0.1/24,fd05::1/64
  assert_err "IPv4 and IPv6 between the ports of 'br1'"
  assert_err 'iptables -I FORWARD -i br1 -o br1 -j ACCEPT && ip6tables-legacy -I FORWARD -i br1 -o br1 -j ACCEPT'
  pw -q disconnect netns:web
  # the same as a script; removed by disconnect
  pw --dry-run --firewall allow --no-probe br1 netns:web 10.5.0.1/24,fd05::1/64 > "$BATS_TEST_TMPDIR/script"
  [[ $(rules) == "$before" ]]
  on_host sh "$BATS_TEST_TMPDIR/script"
  run_pw --firewall allow --no-probe br1 netns:web 10.5.0.1/24,fd05::1/64
  assert_out 'nothing changed'
  [[ $(rules | grep -c 'comment "pipework br1: in br1 out br1 accept[46]"') == 2 ]]
  # one that died without a disconnect leaves its rules to the next that goes
  netns_guest db
  pw -q --firewall allow --no-probe br2 netns:db 10.6.0.1/24
  on_host ip link del dev "$(host_end db eth1)"
  # and one of an older version, whose rules were in the chains of others
  on_host iptables -I FORWARD -i br3 -o br3 -m comment --comment 'pipework br3' -j ACCEPT
  pw -q disconnect netns:web
  [[ $(rules) == "$before" ]]
}

# judged KIND RULES — what an attach says of these rules, in that kind of iptables, is
# what the kernel does with them.
judged() {
  local kind=$1 rules=$2
  { echo '*filter'; echo "${rules//;/$'\n'}"; echo COMMIT; } | on_host "iptables-$kind-restore" || return
  run_pw --no-probe br1 netns:db 10.5.0.2/24
  case $stderr in
    '') reaches web 10.5.0.2 || fail "said to pass, and lost: $rules" ;;
    *' drops IPv4'*) lost web 10.5.0.2 || fail "said to be dropped: $rules" ;;
    *) fail "neither: $rules" "$stderr" ;;
  esac
  [[ -n $stderr ]] && DROPPED=$((DROPPED + 1)) || PASSED=$((PASSED + 1))
  { echo '*filter'; echo ':FORWARD ACCEPT'; echo COMMIT; } | on_host "iptables-$kind-restore"
}

@test "what is said of rules is what the kernel does with them" {
  netns_guest web
  netns_guest db
  pw -q --firewall off br1 netns:web 10.5.0.1/24
  pw -q --firewall off --no-probe br1 netns:db 10.5.0.2/24
  local web db kind=nft rules
  web=$(host_end web eth1) db=$(host_end db eth1)
  DROPPED=0 PASSED=0
  while IFS= read -r rules; do
    judged "$kind" "$rules" || return
    [[ $kind == nft ]] && kind=legacy || kind=nft
  done << END
:FORWARD DROP;-A FORWARD -i br1 -o br1 -j ACCEPT
:FORWARD DROP;-A FORWARD -i $web -j ACCEPT;-A FORWARD -i $db -j ACCEPT
:FORWARD DROP;-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT
:FORWARD DROP;-A FORWARD -m physdev --physdev-in $web -j ACCEPT
:FORWARD DROP;-A FORWARD -m physdev --physdev-in $web -j ACCEPT;-A FORWARD -m physdev --physdev-out $web -j ACCEPT
:FORWARD DROP;-A FORWARD -s 10.5.0.0/24 -d 10.5.0.0/24 -j ACCEPT
:FORWARD DROP;-A FORWARD -s 10.5.0.1 -j ACCEPT
:FORWARD DROP;-A FORWARD ! -s 10.6.0.0/16 -i br+ -j ACCEPT
:FORWARD DROP;-A FORWARD -m conntrack --ctstate NEW -j ACCEPT
:FORWARD DROP;-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
:FORWARD DROP;-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
:FORWARD ACCEPT;:A - ;:B - ;-A FORWARD -j A;-A FORWARD -j DROP;-A A -g B;-A A -j ACCEPT;-A B -i br9 -j ACCEPT
:FORWARD DROP;:A - ;:B - ;-A FORWARD -g A;-A FORWARD -j ACCEPT;-A A -j B;-A A -j RETURN;-A B -o br1 -j RETURN
:FORWARD DROP;:A - ;:B - ;-A FORWARD -j A;-A A -j B;-A A -m comment --comment "-j DROP" -j ACCEPT;-A B -o br1 -j RETURN;-A B -j DROP
:FORWARD ACCEPT;-A FORWARD -i br1 ! -o br1 -j DROP;-A FORWARD ! -i br1 -j DROP
:FORWARD ACCEPT;-A FORWARD -d 10.5.0.2 -i br1 -j REJECT
END
  ((DROPPED >= 6 && PASSED >= 6)) || fail "$DROPPED dropped, $PASSED passed"
}

@test "nobody reads the firewall where no bridge's frames meet it, or with --firewall off; words that are wrong" {
  netns_guest web
  on_host iptables -P FORWARD DROP
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\ntouch %s\nexit 1\n' "$BATS_TEST_TMPDIR/asked" > "$BATS_TEST_TMPDIR/bin/nft"
  chmod +x "$BATS_TEST_TMPDIR/bin/nft"
  export PATH=$BATS_TEST_TMPDIR/bin:$PATH
  run_pw --firewall off --no-probe br1 netns:web 10.5.0.1/24
  assert_exit 0
  [[ -z $stderr && ! -e $BATS_TEST_TMPDIR/asked ]]
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
  run_pw --no-probe --strict br1 netns:web 10.5.0.1/24
  assert_exit 0
  [[ -z $stderr && ! -e $BATS_TEST_TMPDIR/asked ]]
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
  # nft fails, or is not there: iptables-nft-save tells it
  run_pw --no-probe br1 netns:web 10.5.0.1/24
  assert_err 'drops IPv4'
  [[ -e $BATS_TEST_TMPDIR/asked ]]
  run_pw --firewall yes br1 netns:web 10.5.0.1/24
  assert_exit 2
  assert_err "--firewall 'yes' is not allow, warn or off"
  run_pw --firewall off --strict br1 netns:web 10.5.0.1/24
  assert_exit 2
}
