# shellcheck shell=bash
# shellcheck disable=SC2154 # status, output, stderr are set by run_pw
# DHCP servers on the rig's LAN, and what tests of leases ask. Loaded after rig and promise.

# serve_dhcp [ARG…] — dnsmasq on the LAN. Leases last two minutes, unless RANGE says else; DHCP_LOG is what it says.
serve_dhcp() {
  DHCP_LOG=$BATS_TEST_TMPDIR/dnsmasq.log
  : > "$DHCP_LOG"
  on_lan_exec dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=lan0 --bind-interfaces \
    --except-interface=lo --no-ping --dhcp-range="${RANGE-192.168.77.100,192.168.77.150,255.255.255.0,2m}" \
    --dhcp-authoritative --dhcp-leasefile="$BATS_TEST_TMPDIR/leases" --pid-file= --log-dhcp --log-facility=- "$@" \
    >> "$DHCP_LOG" 2>&1 < /dev/null 3>&- 4>&- &
  echo "$!" > "$RIG_DIR/dnsmasq.pid"
  wait_until 30 grep -qE 'IP range|router advertisement|DHCPv6' "$DHCP_LOG"
}

# on_lan_exec CMD… — on_lan in place of this (sub)shell, in a session of its own.
on_lan_exec() {
  exec nsenter --mount="$RIG_DIR/ns/mnt" --net="$LAN_NS" setsid env -C "$PWD" "$@"
}

# stop_dhcp — ends it; those who have leases keep them.
stop_dhcp() {
  [[ ! -e $RIG_DIR/dnsmasq.pid ]] || rig_stop dnsmasq
}

# served WORD… — the server's log has a line with all these words.
served() {
  local line word
  while IFS= read -r line; do
    for word; do [[ $line == *"$word"* ]] || continue 2; done
    return 0
  done < "$DHCP_LOG"
  return 1
}

# count_served WORD — how many lines of the server's log have this word.
count_served() {
  grep -c -- "$1" "$DHCP_LOG" || true
}

# test_count WORD COUNT — at least so many lines have it.
test_count() {
  (($(count_served "$1") >= $2))
}

# lan_bridge — br1 with the host's NIC in it, so that who is on the bridge reaches the LAN's server.
lan_bridge() {
  bridge br1
  on_host ip link set dev eth0 master br1
}

# guard_resolv_conf — a resolv.conf that only this rig's host has, to see who writes there.
guard_resolv_conf() {
  echo '# nobody writes here' > "$BATS_TEST_TMPDIR/resolv.conf"
  on_host mount --bind "$BATS_TEST_TMPDIR/resolv.conf" /etc/resolv.conf
  GUARDED=1
}

# assert_resolv_conf — it is as it was.
assert_resolv_conf() {
  [[ $(on_host cat /etc/resolv.conf) == '# nobody writes here' ]] || fail "$(on_host cat /etc/resolv.conf)"
}

# dhcp_setup, dhcp_teardown — for each test of leases; none leaves a client, or a file of one.
dhcp_setup() {
  need_docker
  need dnsmasq dnsmasq-base
}

dhcp_teardown() {
  stop_dhcp
  [[ -z ${GUARDED-} ]] || on_host umount /etc/resolv.conf
  # shellcheck disable=SC2016 # expanded on the host
  on_host sh -c 'for keep in /run/pipework/dhcp/*/keep; do [ ! -e "$keep" ] || sh "$keep" --stop; done
    rm -rf /run/pipework/dhcp /var/lib/pipework/*'
  wait_until 10 no_clients
  clean_host
}

# clients — what runs of DHCP on the rig's host: clients, and their keepers. All of them write into a log in its /run.
clients() {
  local pid run
  run=$(on_host stat -c %d /run)
  for pid in $(pgrep -f '^(sh /run/pipework/dhcp/|(busybox )?udhcpc |dhclient |(unshare .*)?dhcpcd)'); do
    [[ $(stat -L -c %d "/proc/$pid/fd/1") != "$run" ]] || tr '\0' ' ' < "/proc/$pid/cmdline" && echo
  done 2> /dev/null | grep .
}

# no_clients — none runs.
no_clients() {
  [[ -z $(clients) ]]
}

# pid_of WHAT — the process that the one client's file names: keeper, or pid for the client itself.
pid_of() {
  on_host sh -c "cut -d - -f 1 /run/pipework/dhcp/*/$1"
}

# lease_of GUEST [IFNAME] — its lease, out of ls --json.
lease_of() {
  pw ls --json | jq -c --arg guest "$1" --arg ifname "${2-eth1}" \
    '.attachments[] | select(.guest.name == $guest and .ifname == $ifname) | .leases[0]'
}

# serve_oddly MODE [PROGRAM] — the server of dhcp-server on the LAN, in its own directory: $ODD; its log is DHCP_LOG.
serve_oddly() {
  ODD=$BATS_TEST_TMPDIR/odd
  DHCP_LOG=$ODD/log
  mkdir -p "$ODD"
  nsenter --mount="$RIG_DIR/ns/mnt" --net="$LAN_NS" setsid env -C "$ODD" -u NODE_EXTRA_CA_CERTS \
    node "$BATS_TEST_DIRNAME/${2-dhcp-server}" "$1" > "$DHCP_LOG" 2>&1 < /dev/null 3>&- 4>&- &
  echo "$!" > "$RIG_DIR/dnsmasq.pid"
  # 255.255.255.255 has to leave by the one NIC that there is.
  on_lan ip route replace 255.255.255.255 dev lan0
  wait_until 30 grep -q ready "$DHCP_LOG"
}
