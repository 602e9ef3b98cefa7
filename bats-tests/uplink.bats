#!/usr/bin/env bats
# The host's NIC goes into a bridge and comes out again, and whoever is connected through it does not notice. Whatever
# goes wrong (a step, a signal, kill -9, the gateway, nobody who confirms), the host is as it was, byte for byte.

# shellcheck disable=SC2030,SC2031,SC2154 # each test is a process of its own; status, output, stderr are set by wait_pw
load rig
load uplinked

setup() {
  need_host
  wait_until 30 settled
}
teardown() { clean_uplinks; }

# --- the move ----------------------------------------------------------------------------------------------

# talk — lets bytes flow from the host to the LAN, and pings the other way.
talk() {
  on_host_exec node "$BATS_TEST_DIRNAME/stream" serve 2222 > "$BATS_TEST_TMPDIR/serve" 3>&- 4>&- &
  SERVE=$!
  wait_until 30 grep -q ready "$BATS_TEST_TMPDIR/serve"
  (exec nsenter --net="$LAN_NS" node "$BATS_TEST_DIRNAME/stream" watch 192.168.77.10 2222) > "$BATS_TEST_TMPDIR/watch" 3>&- 4>&- &
  WATCH=$!
  (exec nsenter --net="$LAN_NS" ping -i 0.01 -q 192.168.77.10) > "$BATS_TEST_TMPDIR/ping" 3>&- 4>&- &
  PING=$!
  wait_until 30 grep -q ready "$BATS_TEST_TMPDIR/watch"
}

# hush — ends it; GAP is the longest silence in ms, LOST how many pings had no answer.
hush() {
  kill -INT "$PING"
  wait "$PING" || true
  kill "$WATCH"
  wait "$WATCH" || fail "the connection broke: $(< "$BATS_TEST_TMPDIR/watch")"
  kill "$SERVE"
  GAP=$(tail -n 1 "$BATS_TEST_TMPDIR/watch" | jq .gap)
  LOST=$(sed -nE 's/^([0-9]+) packets transmitted, ([0-9]+) received.*/\1 \2/p' "$BATS_TEST_TMPDIR/ping" | awk '{ print $1 - $2 }')
}

# routes_of LINK — of what network prints, the routes through that link.
routes_of() {
  jq --arg dev "$1" '[.[1:3][][] | select(any(.. | objects; .dev == $dev))]'
}

@test "the NIC moves with all that it has, a connection lives on, and del brings back exactly what was" {
  furnish
  local before
  before=$(network)
  talk
  run_pw uplink add br0 eth0
  assert_exit 0
  assert_out "undo: pipework uplink del br0"
  # what eth0 had, br0 has; eth0 has nothing
  assert_same_state "$(jq '[.[0][] | select(.ifname == "eth0").addr_info[] | del(.label)]' <<< "$before")" \
    "$(network | jq '[.[0][] | select(.ifname == "br0").addr_info[] | del(.label)]')"
  # IPv6 has a route for groups on each link, whoever it belongs to
  assert_same_state "$(routes_of eth0 <<< "$before" | sed 's/"eth0"/"br0"/')" "$(network | routes_of br0)"
  assert_json "$(network)" '[.[1:3][][] | select(.dev == "eth0" and .type != "multicast")] == []'
  assert_json "$(network)" '.[0][] | select(.ifname == "eth0") | .master == "br0" and .addr_info == []'
  assert_json "$(network)" '(.[3] + .[4] | map(select(.iif)) | length == 2 and all(.iif == "br0")) and .[5][0].dev == "br0"'
  assert_json "$(on_host ip -d -j link show dev br0)" '.[0] | .linkinfo.info_data.stp_state == 0 and .mtu == 1500 and .address == "02:77:00:00:00:10"'
  on_host ping -c 1 -W 5 -q 192.168.77.1
  on_host ping -c 1 -W 5 -q fd77::1
  run_pw uplink ls --json
  assert_json "$output" '.uplinks == [{ bridge: "br0", uplink: "eth0", state: "kept" }]'
  local during
  during=$(network)
  run_pw uplink add br0 eth0
  assert_exit 0
  assert_out "nothing changed"
  assert_network "$during"
  run_pw uplink del br0
  assert_exit 0
  assert_network "$before"
  run_pw uplink del br0
  assert_exit 0
  assert_out "nothing changed"
  hush
  echo "# longest silence $GAP ms, $LOST pings lost, two moves" >&3
  # The machine itself may be away for longer than the move takes; a connection that has to ask again is away for a second.
  ((GAP < 1000 && LOST <= 5)) || fail "a silence of $GAP ms, $LOST pings lost"
  wait_until 30 no_guards
}

@test "what --dry-run prints does the same" {
  furnish
  local before during
  before=$(network)
  run_pw --dry-run uplink add br0 eth0
  assert_exit 0
  assert_network "$before"
  local script=$output
  pw uplink add br0 eth0
  during=$(network)
  run_pw --dry-run uplink del br0
  local back=$output
  assert_network "$during"
  on_host sh -c "$back"
  assert_network "$before"
  on_host sh -c "$script"
  assert_network "$during"
}

@test "del also when guests are on the bridge: they stay on it, the host leaves it" {
  furnish
  local before
  before=$(network)
  netns_guest blue
  pw uplink add br0 eth0
  pw br0 netns:blue 192.168.77.50/24
  in_guest blue ping -c 1 -W 5 -q 192.168.77.1
  on_host ip addr add 192.168.77.12/24 dev br0
  pw uplink del br0
  assert_json "$(on_host ip -j addr show dev eth0)" '[.[0].addr_info[].local] | index("192.168.77.12") and index("fd77::10")'
  on_host ip addr del 192.168.77.12/24 dev eth0
  assert_json "$(on_host ip -j addr show dev br0)" '.[0] | .flags | index("UP")'
  assert_same_state "$(jq '.[1], (.[0][] | select(.ifname == "eth0"))' <<< "$before")" \
    "$(network | jq '.[1], (.[0][] | select(.ifname == "eth0"))')"
  pw disconnect netns:blue
  assert_network "$before"
}

@test "a bridge that is there keeps what it has, and gets its MAC address and MTU back" {
  furnish
  on_host ip -batch - << 'END'
link add br0 address 02:00:00:00:00:b0 mtu 1400 type bridge
link set dev br0 up
addr add 10.50.0.1/24 dev br0
END
  netns_guest blue
  pw --no-probe br0 netns:blue 10.50.0.2/24
  wait_until 30 settled
  local before
  before=$(network)
  pw uplink add br0 eth0
  on_host ping -c 1 -W 5 -q 192.168.77.1
  assert_json "$(on_host ip -j addr show dev br0)" '.[0] | .address == "02:77:00:00:00:10" and ([.addr_info[].local] | index("10.50.0.1"))'
  pw uplink del br0
  assert_network "$before"
}

# --- what a router announces -------------------------------------------------------------------------------

# announce — the LAN gets a router that announces itself every few seconds, and the host its address and default route.
announce() {
  on_lan ip -batch - <<< $'addr replace fe80::1/64 dev lan0 nodad\naddr add fd55::1/64 dev lan0 nodad'
  on_lan sysctl -qw net.ipv6.conf.all.forwarding=1
  (exec nsenter --net="$LAN_NS" dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=lan0 --bind-interfaces \
    --enable-ra --dhcp-range=fd55::,slaac,64,300 --ra-param=lan0,high,4,900 --dhcp-leasefile=/dev/null --user=root --pid-file) \
    > "$BATS_TEST_TMPDIR/router" 2>&1 3>&- 4>&- &
  ROUTER=$!
  wait_until 60 learnt_anew eth0
  wait_until 30 settled
}

# learnt_anew LINK — the link's address and default route are those of an announcement a moment ago, and no other link
# has a way to that subnet.
learnt_anew() {
  on_host sh -c 'ip -j -6 address; ip -j -d -6 route; echo' | jq -es --arg dev "$1" '
    ([.[0][].addr_info[]? | select(.local | startswith("fd55:")?)] | length == 1) and
    (.[0][] | select(.ifname == $dev).addr_info[] | select(.local == "fd55::77:ff:fe00:10") | .mngtmpaddr and .valid_life_time >= 296) and
    (.[1] | [.[] | select(.dst == "fd55::/64").dev] == [$dev]) and
    (.[1] | [.[] | select(.dst == "default") | [.dev, .gateway, .protocol, .metric, .expires >= 896]] == [[$dev, "fe80::1", "ra", 1024, true]])' > /dev/null
}

@test "what a router has announced goes along, and goes on being announced: there, back, and after a kill" {
  need dnsmasq dnsmasq-base
  announce
  local before n
  before=$(network)
  run_pw uplink add br0 eth0
  assert_exit 0
  # once and again: not what was moved, but what was heard since
  wait_until 30 learnt_anew br0
  sleep 4
  wait_until 30 learnt_anew br0
  on_host ping -c 1 -W 5 -q fd55::1
  run_pw uplink del br0
  assert_exit 0
  assert_network "$before"
  PIPEWORK_KILL_AFTER=16 run -137 pw uplink add br0 eth0
  wait_until 60 no_guards
  assert_network "$before"
  wait_until 30 learnt_anew eth0
  # a router that is gone: what stood in for it lasts as long as the announcement would have
  kill "$ROUTER"
  wait "$ROUTER" || true
  pw uplink add br0 eth0
  assert_json "$(on_host ip -j -d -6 route show default)" 'length == 1 and .[0].dev == "br0" and .[0].gateway == "fe80::1" and .[0].expires > 600'
  on_lan sysctl -qw net.ipv6.conf.all.forwarding=0
}

# --- the NIC's own settings ------------------------------------------------------------------------------

# settings LINK — its sysctls, but for those that are only of one link.
settings() {
  on_host grep -r . "/proc/sys/net/ipv4/conf/$1" "/proc/sys/net/ipv6/conf/$1" 2> /dev/null |
    grep -vE '/(mc_forwarding|stable_secret|addr_gen_mode):' | sed "s#/conf/$1/#/#" | sort
}

# nature — what ethtool and `ip` say of eth0 itself.
nature() {
  on_host ethtool -k eth0 | grep -v large-receive
  on_host ip -j link show dev eth0 | jq -S '.[0] | [.mtu, (.flags - ["LOWER_UP"] | sort)]'
  settings eth0
}

@test "MTU, offloads, promiscuous mode and sysctls of the NIC: the bridge has those that are its, and all are back after" {
  need ethtool ethtool
  local before network real
  on_host ethtool -K eth0 tso off gro on
  on_host ip link set dev eth0 mtu 1400 promisc on
  on_host sysctl -qw net/ipv4/conf/eth0/rp_filter=2 net/ipv4/conf/eth0/proxy_arp=1 net/ipv4/conf/eth0/accept_local=1 \
    net/ipv4/conf/eth0/forwarding=1 net/ipv6/conf/eth0/accept_ra=2 net/ipv6/conf/eth0/forwarding=1 net/ipv6/conf/eth0/accept_dad=0
  # No NIC here has LRO, which the kernel turns off on a port: this one says that it has.
  real=$(command -v ethtool)
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '%s\n' '#!/bin/sh' "[ \"\$1\" = -K ] && echo \"\$@\" >> $BATS_TEST_TMPDIR/lro || $real \"\$@\"" \
    "[ \"\$1\" = -K ] || echo 'large-receive-offload: on'" > "$BATS_TEST_TMPDIR/bin/ethtool"
  chmod +x "$BATS_TEST_TMPDIR/bin/ethtool"
  wait_until 30 settled
  before=$(nature) network=$(network)
  PATH=$BATS_TEST_TMPDIR/bin:$PATH pw uplink add br0 eth0
  assert_same_state "$(settings eth0)" "$(settings br0)"
  assert_json "$(on_host ip -j link show dev br0)" '.[0].mtu == 1400'
  PATH=$BATS_TEST_TMPDIR/bin:$PATH pw uplink del br0
  assert_same_state "$before" "$(nature)"
  assert_network "$network"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH PIPEWORK_KILL_AFTER=19 run -137 pw uplink add br0 eth0
  wait_until 60 no_guards
  assert_same_state "$before" "$(nature)"
  assert_network "$network"
  [[ $(uniq -c "$BATS_TEST_TMPDIR/lro" | xargs) == '2 -K eth0 large-receive-offload on' ]] || fail "$(< "$BATS_TEST_TMPDIR/lro")"
}

# --- whatever goes wrong -----------------------------------------------------------------------------------

# count_steps WORD… — how many steps the plan has now.
count_steps() {
  pw --dry-run --json "$@" | jq '.steps | length'
}

@test "after a failure at every step, and kill -9 at every step, the host is byte for byte as it was" {
  furnish
  local before steps n
  before=$(network)
  steps=$(count_steps uplink add br0 eth0)
  ((steps > 40)) || fail "only $steps steps"
  for ((n = 1; n < steps; n += $(rounds_of 1 16))); do
    PIPEWORK_FAIL_AFTER=$n run_pw uplink add br0 eth0
    assert_exit 1 || fail "failing after step $n" || return
    assert_network "$before" || fail "after step $n" || return
  done
  for n in $(steps_of 0 "$steps"); do
    # the watchdog alone is left
    PIPEWORK_KILL_AFTER=$n run -137 pw uplink add br0 eth0
    wait_until 60 no_guards
    assert_network "$before" || fail "killed after step $n" || return
  done
  run_pw uplink ls
  assert_out "restored: pipework was killed during the move"
  pw uplink add br0 eth0
}

@test "del: after a failure and kill -9 at every step, the bridge has its uplink as before" {
  furnish
  pw uplink add br0 eth0
  local before steps n
  before=$(network)
  steps=$(($(count_steps uplink del br0) - 3))
  ((steps > 40)) || fail "only $steps steps"
  # How many neighbours there are to tell of changes meanwhile: the last steps may be none.
  for ((n = 1; n < 40; n += $(rounds_of 1 12))); do
    PIPEWORK_FAIL_AFTER=$n run_pw uplink del br0
    assert_exit 1 || fail "failing after step $n" || return
    assert_network "$before" || fail "after step $n" || return
  done
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_KILL_AFTER=$n run_pw uplink del br0
    ((status == 137)) || break
    wait_until 60 no_guards
    assert_network "$before" || fail "killed after step $n" || return
  done
  ((n > 40)) || fail "only $n steps"
}

@test "a gateway that no longer answers: everything is restored, and the reason is printed" {
  furnish
  local before
  on_host ping -c 1 -W 5 -q 192.168.77.1
  on_host ping -c 1 -W 5 -q fe80::1%eth0
  before=$(network)
  on_lan ip link set dev lan0 arp off
  run_pw uplink add br0 eth0
  assert_exit 1
  assert_err "the gateway '192.168.77.1' does not answer on 'br0'"
  assert_network "$before"
  # and one that does not answer before is no proof of anything: --force goes without
  on_host ip neigh flush dev eth0
  run_pw uplink add br0 eth0
  assert_exit 1
  assert_err "does not answer now"
  assert_network "$before"
  pw --force uplink add br0 eth0
}

@test "SSH: whoever is connected must still be reached by the bridge" {
  furnish
  run_pw -v uplink add br0 eth0
  refute_ssh() { [[ $stderr != *"SSH client"* ]]; }
  refute_ssh
  pw uplink del br0
  SSH_CONNECTION='192.168.77.1 50000 192.168.77.10 22' run_pw -v uplink add br0 eth0
  assert_exit 0
  assert_err "verify that your SSH client 192.168.77.1 is reached by br0"
  pw uplink del br0
  local before
  before=$(network)
  SSH_CONNECTION='fe80::1%eth0 50000 fe80::2%eth0 22' run_pw uplink add br0 eth0
  assert_exit 1
  assert_err "a link-local address that is bound to 'eth0'"
  assert_network "$before"
}

# --- state files -------------------------------------------------------------------------------------------

# uplink_file — prints the state file of br0's uplink.
uplink_file() {
  on_host cat /run/pipework/uplinks/br0
}

@test "a NIC whose device is made anew is added again, and del gives it what the first add recorded" {
  furnish
  local before record
  before=$(on_host ip -j address show dev eth0 | jq -S '[.[0].addr_info[] | [.local, .prefixlen, .address, .label]]')
  pw uplink add br0 eth0
  record=$(uplink_file)
  on_host ip link del dev eth0
  on_host ip link add dev eth0 address 02:77:00:00:00:10 type veth peer name lan0 address 02:77:00:00:00:01 netns "$LAN_NS"
  on_lan ip -batch - <<< $'addr add 192.168.77.1/24 dev lan0\nlink set dev lan0 up'
  on_host ip link set dev eth0 up
  wait_until 30 settled
  # a run that fails leaves the state file as it was
  PIPEWORK_FAIL_AFTER=2 run_pw uplink add br0 eth0
  assert_exit 1
  [[ $(uplink_file) == "$record" ]] || fail "another state file: $(uplink_file)"
  run_pw uplink add br0 eth0
  assert_exit 0
  on_host ping -c 1 -W 5 -q 192.168.77.1
  pw uplink del br0
  assert_same_state "$before" "$(on_host ip -j address show dev eth0 | jq -S '[.[0].addr_info[] | [.local, .prefixlen, .address, .label]]')"
  on_host ping -c 1 -W 5 -q 192.168.77.1
}

@test "a damaged state file is an error that names the file" {
  on_host mkdir -p /run/pipework/uplinks
  local text
  for text in '{"bridge":"br0","nic":"et' '{}' '[]' '{"version":2,"bridge":"br0","nic":"eth0","direction":"up"}'; do
    on_host sh -c "printf '%s\n' '$text' > /run/pipework/uplinks/br0"
    refused 1 "the state file '/run/pipework/uplinks/br0' is damaged" uplink ls
    refused 1 "rm /run/pipework/uplinks/br0" uplink add br0 eth0
    refused 1 "/run/pipework/uplinks/br0" uplink del br0
    refused 1 "/run/pipework/uplinks/br0" uplink confirm br0
    refused 1 "/run/pipework/uplinks/br0" diagram
  done
  on_host rm /run/pipework/uplinks/br0
  pw uplink add br0 eth0
}

@test "the state file of the version before is read" {
  furnish
  local before
  before=$(network)
  pw uplink add br0 eth0
  uplink_file | jq -c '
    def item: {kind, family, what: .description, add, del, rank: .routeKey, gateway, isDefault, announced, remnant: .leftover, lifetimes} | with_entries(select(.value != null));
    { bridge, nic, way: "in", stage, takenAt, lro, files, holdings: (.items | map(item)), bridgeHad: [],
      nicWas: (.nicBefore | {up, mtu, mac, genmode: .addrGenMode}) }' > "$BATS_TEST_TMPDIR/before"
  on_host sh -c "cat > /run/pipework/uplinks/br0" < "$BATS_TEST_TMPDIR/before"
  run_pw uplink ls
  assert_out kept
  pw uplink del br0
  assert_network "$before"
}

# --- confirmation ------------------------------------------------------------------------------------------

# pending — true when an uplink waits to be confirmed.
pending() {
  pw uplink ls --json | jq -e '.uplinks[] | select(.state == "pending")' > /dev/null
}

@test "--confirm: kept when confirmed, restored when not, or when the waiting process is killed" {
  furnish
  local before
  before=$(network)
  start_pw uplink add br0 eth0 --confirm 600
  wait_until 60 pending
  run_pw uplink add br0 eth0
  run_pw uplink confirm br0
  assert_exit 0
  wait_pw
  assert_exit 0
  assert_err "uplink confirm br0"
  assert_json "$(network)" '.[0][] | select(.ifname == "eth0").master == "br0"'
  run_pw uplink confirm br0
  assert_out "nothing changed"
  pw uplink del br0
  assert_network "$before"

  run_pw uplink add br0 eth0 --confirm 1
  assert_exit 1
  assert_err "was not confirmed, so everything was restored"
  assert_network "$before"
  run_pw uplink confirm br0
  assert_exit 1
  assert_err "it was not confirmed in time"

  start_pw uplink add br0 eth0 --confirm 3
  wait_until 60 pending
  kill -KILL "$PW_PID"
  wait_pw
  wait_until 60 no_guards
  assert_network "$before"

  # a signal to the one who waits is a no, and so is del
  start_pw uplink add br0 eth0 --confirm 600
  wait_until 60 pending
  kill -HUP "$PW_PID"
  wait_pw
  assert_exit 1
  assert_network "$before"
  start_pw uplink add br0 eth0 --confirm 600
  wait_until 60 pending
  pw uplink del br0
  wait_pw
  assert_exit 1
  assert_network "$before"
}

# --- refusals ----------------------------------------------------------------------------------------------

# refused CODE TEXT WORD… — the words are refused with that code and text, and nothing changes.
refused() {
  local before
  before=$(network)
  run_pw "${@:3}"
  assert_exit "$1" || return
  assert_err "$2" || return
  assert_network "$before"
}

@test "what cannot be bridged is refused, with the way that works" {
  local index
  refused 1 "there is no NIC 'eth7'" uplink add br0 eth7
  refused 1 "is a loopback" uplink add br0 lo
  refused 2 'uplink add: missing argument <nic>' uplink add br0
  refused 2 "unexpected argument 'x'" uplink add br0 eth0 x
  refused 2 "uplink: unknown action 'swap'" uplink swap br0
  refused 1 "cannot be its own uplink" uplink add eth0 eth0
  refused 1 "is not a Linux bridge" uplink add lo eth0
  on_host ip link add br7 type bridge
  on_host ip link set dev eth0 master br7
  refused 1 "'eth0' is a port of 'br7' already" uplink add br0 eth0
  on_host ip link set dev eth0 nomaster
  on_host ip link del br7
  on_host ip link add link eth0 name mv0 type macvlan
  refused 1 "the macvlan mv0" uplink add br0 eth0
  on_host ip netns add blue
  on_host ip link set dev mv0 netns blue
  in_guest blue ip link set dev mv0 up
  refused 1 "the macvlan mv0 of a guest" uplink add br0 eth0
  on_host ip netns del blue
  wait_until 30 unheld
  on_host ip nexthop add id 7 via 192.168.77.1 dev eth0
  refused 1 "the nexthop object 7" uplink add br0 eth0
  on_host ip nexthop del id 7
  on_host ip route add 10.9.0.0/16 encap ip id 3 dst 10.0.0.1 dev eth0
  refused 1 "has 'encap'" uplink add br0 eth0
  on_host ip route del 10.9.0.0/16
  # A rule that lets SSH in by the NIC says nothing of the bridge.
  need nft nftables
  on_host nft -f - <<< 'table inet site { chain input { type filter hook input priority 0; policy drop; iifname "eth0" accept; }; }'
  refused 1 "a firewall rule names 'eth0', and packets will arrive on 'br0' instead: rule 2 in chain input" uplink add br0 eth0
  run_pw --force uplink add br0 eth0
  assert_exit 0
  assert_err "warning: a firewall rule names 'eth0'"
  pw -q uplink del br0
  # Who is to confirm may try.
  run_pw uplink add br0 eth0 --confirm 1
  assert_err "warning: a firewall rule names 'eth0'"
  assert_err 'was not confirmed'
  on_host nft add rule inet site input iifname br0 accept
  pw -q uplink add br0 eth0
  on_host nft flush ruleset
  pw -q uplink del br0
}

# unheld — true when eth0 has no macvlan any more.
unheld() {
  [[ $(on_host cat /sys/class/net/eth0/flags) == 0x1003 ]]
}

@test "a NIC that another program manages is refused with what keeps it off, or that is written" {
  local index
  index=$(on_host cat /sys/class/net/eth0/ifindex)
  on_host mkdir -p /run/systemd/netif/links /run/NetworkManager/devices /run/network
  # What it has failed at, it tries again when it is started anew.
  on_host sh -c "printf 'ADMIN_STATE=failed\nNETWORK_FILE=/etc/systemd/network/lan.network\n' > /run/systemd/netif/links/$index"
  refused 1 "is managed by systemd-networkd" uplink add br0 eth0
  on_host sh -c "printf 'ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n' > /run/systemd/netif/links/$index"
  refused 1 "is managed by netplan" uplink add br0 eth0
  assert_err "Unmanaged=yes"
  on_host sh -c "printf '[device]\nmanaged=true\n' > /run/NetworkManager/devices/$index; rm /run/systemd/netif/links/$index"
  refused 1 "is managed by NetworkManager" uplink add br0 eth0
  assert_err "nmcli connection add type bridge"
  local before
  before=$(network)
  run_pw --write-unmanaged uplink add br0 eth0
  assert_exit 0
  assert_out "now: systemctl restart NetworkManager"
  on_host grep -qx 'unmanaged-devices+=interface-name:eth0;interface-name:br0' /run/NetworkManager/conf.d/90-pipework-br0.conf
  pw uplink del br0
  assert_network "$before"
  on_host test ! -e /run/NetworkManager/conf.d/90-pipework-br0.conf
  PIPEWORK_FAIL_AFTER=9 run_pw --write-unmanaged uplink add br0 eth0
  on_host test ! -e /run/NetworkManager/conf.d/90-pipework-br0.conf
  on_host rm -r /run/NetworkManager
  on_host sh -c 'echo eth0=eth0 > /run/network/ifstate'
  refused 1 "is managed by ifupdown" uplink add br0 eth0
  pw --force uplink add br0 eth0
}

@test "a DHCP client on the NIC is refused" {
  need udhcpc udhcpc
  rig_daemon udhcpc udhcpc -f -i eth0 -s /bin/true -t 1 -A 600
  wait_until 30 serves_dhcp
  refused 1 "'eth0' has its address from udhcpc (process" uplink add br0 eth0
  rig_stop udhcpc
  pw uplink add br0 eth0
}

# serves_dhcp — true when the client runs.
serves_dhcp() {
  tr '\0' ' ' < "/proc/$(< "$RIG_DIR/udhcpc.pid")/cmdline" | grep -q '^udhcpc'
}

# --- the main form -----------------------------------------------------------------------------------------

@test "br0@eth0: one command puts a guest on the LAN; when the attach fails, the uplink is taken back as well" {
  furnish
  netns_guest blue
  local before inside steps n
  before=$(network) inside=$(guest_state blue)
  local words=(--no-probe br0@eth0 netns:blue 192.168.77.50/24@192.168.77.1)
  steps=$(count_steps "${words[@]}")
  for n in "$((steps - 1))" "$((steps - 3))"; do
    PIPEWORK_FAIL_AFTER=$n run_pw "${words[@]}"
    assert_exit 1
    assert_err "stopped after step $n of $steps"
    assert_network "$before"
    assert_same_state "$inside" "$(guest_state blue)"
  done
  run_pw --no-probe br0@eth0 netns:blue 192.168.77.50/24@192.168.77.1 -i lo
  assert_exit 1
  assert_network "$before"

  run_pw "${words[@]}"
  assert_exit 0
  assert_out "pipework uplink del br0"
  in_guest blue ping -c 1 -W 5 -q 192.168.77.1
  on_host ping -c 1 -W 5 -q 192.168.77.50
  run_pw "${words[@]}"
  assert_exit 0
  assert_out "nothing changed"
  run_pw ls
  assert_out "br0@eth0"
  assert_json "$(pw ls --json)" '.attachments[0] | .hostif == "br0" and .uplink == "eth0"'
  run_pw save
  assert_out "br0@eth0 netns:blue 192.168.77.50/24@192.168.77.1"
  # the bridge has the host's addresses: it stays when the guest goes
  pw disconnect netns:blue
  on_host ping -c 1 -W 5 -q 192.168.77.1
  pw uplink del br0
  assert_network "$before"

  # what --dry-run prints does the same
  run_pw --dry-run "${words[@]}"
  assert_exit 0
  on_host sh -c "$output"
  in_guest blue ping -c 1 -W 5 -q 192.168.77.1
}

@test "the words of an uplink that make no sense are refused" {
  netns_guest blue
  refused 2 "'' cannot be the name of the uplink" br0@ netns:blue 10.0.0.2/24
  refused 2 "is not a VXLAN id" br0@vxlan:x,10.0.0.1 netns:blue 10.0.0.2/24
  refused 2 "does not name another host" br0@vxlan:42 netns:blue 10.0.0.2/24
  refused 2 "needs a NIC" br0@vxlan:42,239.1.1.1 netns:blue 10.0.0.2/24
  refused 2 "one VLAN of a NIC" br0@eth0 netns:blue 10.0.0.2/24 @10,20
  refused 2 "--direct-phys" --direct-phys br0@eth0 netns:blue 10.0.0.2/24
  refused 1 "there is no bridge 'lan0'" lan0@eth0 netns:blue 10.0.0.2/24
  refused 1 "there is no NIC 'br0'" eth0@br0 netns:blue 10.0.0.2/24
  refused 1 "there is no NIC 'eth7'" br0@eth7 netns:blue 10.0.0.2/24
  refused 1 "no NIC of this host has the MAC address" br0@mac:02:00:00:00:00:01 netns:blue 10.0.0.2/24
  pw br0@mac:02:77:00:00:00:10 netns:blue 192.168.77.50/24
  in_guest blue ping -c 1 -W 5 -q 192.168.77.1
}

@test "at a terminal: Enter keeps it, silence puts it back" {
  need script bsdutils
  local before
  before=$(network)
  # the terminal's Enter comes when it is asked for
  (wait_until 60 pending && echo) | on_host script --quiet --command "$PIPEWORK uplink add br0 eth0" /dev/null > "$BATS_TEST_TMPDIR/said"
  grep -q 'Press Enter' "$BATS_TEST_TMPDIR/said"
  assert_json "$(pw uplink ls --json)" '.uplinks[0].state == "kept"'
  pw uplink del br0
  assert_network "$before"
  (wait_until 60 pending && sleep 3) | on_host script --quiet --command "$PIPEWORK uplink add br0 eth0 --confirm 1" /dev/null > "$BATS_TEST_TMPDIR/said" || true
  wait_until 60 no_guards
  assert_network "$before"
}
