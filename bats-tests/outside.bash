# shellcheck shell=bash
# What the tests of NAT, ports and routed guests ask of the host's firewall. Loaded after rig.

# outside_state — host_state, and what else pipework may change on the host: firewall, sysctls, proxied addresses.
outside_state() {
  host_state
  # shellcheck disable=SC2016 # expanded on the host
  on_host sh -c '
    cd /proc/sys/net && grep . ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/*/route_localnet \
      ipv4/conf/*/proxy_arp ipv4/conf/*/rp_filter ipv6/conf/*/proxy_ndp ipv6/conf/*/accept_ra
    ip neigh show proxy
    nft --stateless list ruleset 2> /dev/null; iptables-legacy-save; ip6tables-legacy-save
    find /run/pipework -name code -prune -o -type f -print 2> /dev/null | sort' | sed '/^#/d; s/\[[0-9]*:[0-9]*\]$//'
}

# settled — a state without what chance or the way there decides: the host end's address, and how IPv6 was asked for.
settled() {
  grep -v '"mac"\|"nodad"' | sort
}

# remember_outside — keeps that state; assert_outside_as_remembered compares.
remember_outside() {
  outside_state > "$BATS_TEST_TMPDIR/outside.state"
}

assert_outside_as_remembered() {
  assert_same_state "$(< "$BATS_TEST_TMPDIR/outside.state")" "$(outside_state)"
}

# clean_outside — no firewall, forwarding off: for teardown, before clean_host.
clean_outside() {
  [[ -z ${RIG_NO_HOST-} ]] || return 0
  stop_servers
  # shellcheck disable=SC2016 # expanded on the host
  on_host sh -c '
    nft flush ruleset
    for family in iptables ip6tables; do
      for table in filter nat raw; do
        $family-legacy -t $table -F; $family-legacy -t $table -X; done
      $family-legacy -P FORWARD ACCEPT; done
    sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
    rm -rf /run/pipework/outside /run/pipework/sysctls' 2> /dev/null || true
}

# outside_guest — what each of these tests starts with: the guest web, and a LAN of both families.
outside_guest() {
  need_host
  need socat socat
  need nft nftables
  netns_guest web
  lan_speaks_ipv6
}

# undone_and_back FIRST WORD… — the words for web fail after each step from FIRST on, and its disconnect after each of its
# own, and all is as it was. Leaves web attached; what there is then and was before are in WHOLE and BEFORE, and how many
# steps there were in STEPS and STEPS_BACK.
undone_and_back() {
  local n
  BEFORE=$(outside_state)
  STEPS=$(pw --dry-run --json "${@:2}" | jq '.steps | length')
  for n in $(steps_of "$1" "$STEPS"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "${@:2}"
    assert_exit 1
    assert_same_state "$BEFORE" "$(outside_state)" || fail "after step $n of $STEPS" || return
  done
  pw "${@:2}"
  WHOLE=$(outside_state | settled)
  STEPS_BACK=$(pw --dry-run --json disconnect netns:web | jq '.steps | length')
  for n in $(steps_of 0 "$STEPS_BACK" 1); do
    PIPEWORK_FAIL_AFTER=$n run_pw disconnect netns:web
    assert_exit 1
    assert_same_state "$WHOLE" "$(outside_state | settled)" || fail "disconnect, after step $n" || return
  done
}

# mended_and_gone FIRST WORD… — the words are killed after each step from FIRST on: the same words again make it WHOLE,
# and disconnect leaves what was BEFORE. Follows undone_and_back.
mended_and_gone() {
  local n
  pw disconnect netns:web
  for n in $(steps_of "$1" "$STEPS" 2); do
    PIPEWORK_KILL_AFTER=$n run_pw "${@:2}"
    run_pw "${@:2}"
    assert_same_state "$WHOLE" "$(outside_state | settled)" || fail "killed after step $n of $STEPS" || return
    pw disconnect netns:web
  done
  assert_same_state "$BEFORE" "$(outside_state)"
}

# use_legacy — from here on this test has iptables-legacy and no nft, as hosts of old.
use_legacy() {
  local farm=$BATS_TEST_TMPDIR/legacy dir name
  need iptables-legacy iptables
  mkdir "$farm"
  while IFS= read -r -d : dir; do
    cp -sn "$dir"/* "$farm" 2> /dev/null || true
  done <<< "$PATH:"
  rm "$farm/nft"
  for name in iptables ip6tables; do
    ln -sf "$(command -v "$name-legacy")" "$farm/$name"
    for tool in save restore; do ln -sf "$(command -v "$name-legacy-$tool")" "$farm/$name-$tool"; done
  done
  PATH=$farm
}

# serve PORT WHERE… — WHERE (on_lan, in_guest web, …) answers on that port, TCP and UDP, both families, with the
# address that it saw.
serve() {
  local port=$1 socket
  shift
  for socket in TCP4-LISTEN TCP6-LISTEN UDP4-RECVFROM UDP6-RECVFROM; do
    # shellcheck disable=SC2016 # expanded by socat's shell
    "$@" socat "$socket:$port,fork,reuseaddr$([[ $socket != *6* ]] || echo ,ipv6only=1)" SYSTEM:'echo $SOCAT_PEERADDR' \
      > /dev/null 2>&1 < /dev/null 3>&- 4>&- &
    echo "$!" >> "$BATS_TEST_TMPDIR/servers"
  done
}

# stop_servers — ends them. What is listed is the subshell that WHERE runs in, and ends with what it waits for.
stop_servers() {
  local pid
  [[ -e $BATS_TEST_TMPDIR/servers ]] || return 0
  while read -r pid; do pkill --parent "$pid" || true; done < "$BATS_TEST_TMPDIR/servers"
  rm "$BATS_TEST_TMPDIR/servers"
}

# ask SOCKET WHERE… — prints what SOCKET (TCP4:10.0.0.1:80, UDP6:[fd00::1]:53) answers to WHERE: the address it saw.
ask() {
  local socket=$1 answer end=$((SECONDS + 30))
  shift
  until answer=$(echo | "$@" timeout 5 socat -T 2 - "$socket" 2> /dev/null) && [[ -n $answer ]]; do
    ((SECONDS < end)) || fail "no answer from $socket to $*" || return
    sleep 0.1
  done
  echo "$answer"
}

# no_answer SOCKET WHERE… — nobody answers there.
no_answer() {
  local socket=$1
  shift
  [[ -z $(echo | "$@" timeout 3 socat -T 1 - "$socket" 2> /dev/null) ]]
}

# lan_speaks_ipv6 — the cable to the LAN gets addresses of IPv6: host fd77::10, LAN fd77::1.
lan_speaks_ipv6() {
  on_host ip addr add fd77::10/64 dev eth0 nodad
  on_lan ip addr add fd77::1/64 dev lan0 nodad
}
