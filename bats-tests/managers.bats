#!/usr/bin/env bats
# The real programs that manage a NIC: each is refused by its name, kept off by the file that is written, and then
# leaves NIC and bridge alone, told so or started anew.

# shellcheck disable=SC2030,SC2031,SC2154 # each test is a process of its own; status, output, stderr are set by run_pw
load rig
load uplinked
load managers

setup() {
  need_host
  need dbus-daemon dbus
}

teardown() {
  local name
  stop_managers
  for name in client lan-dhcp; do [[ ! -e $RIG_DIR/$name.pid ]] || rig_stop "$name"; done
  clean_uplinks
}

# bare — eth0 has nothing but itself, as the manager finds it after a boot; the LAN speaks both families.
bare() {
  on_lan ip addr add fd77::1/64 dev lan0 nodad
  on_host ip addr flush dev eth0
  on_host ip link set dev eth0 down
}

# serve_leases — the LAN gives addresses away.
serve_leases() {
  need dnsmasq dnsmasq-base
  rig_daemon lan-dhcp nsenter --net="$LAN_NS" dnsmasq --keep-in-foreground --no-daemon --conf-file=/dev/null --port=0 \
    --interface=lan0 --bind-interfaces --no-ping --dhcp-range=192.168.77.100,192.168.77.150,10m --dhcp-leasefile="$RIG_DIR/leases"
}

# stays BEFORE — the network is so, and remains so for some seconds; but for how eth0, which is to have no address,
# would make one: NetworkManager sets that as it starts.
stays() {
  local end=$((SECONDS + 3))
  while ((SECONDS < end)); do
    assert_same_state "$(jq '.[:-1]' <<< "$1")" "$(network | jq '.[:-1]')" || return
    sleep 0.2
  done
}

# refused TEXT WORD… — the words are refused with that text, and nothing changes.
refused() {
  local before
  wait_until 30 settled
  before=$(network)
  run_pw "${@:2}"
  assert_exit 1
  assert_err "$1"
  assert_network "$before"
}

# eth0_has ADDRESS — it has.
eth0_has() { on_host ip address show dev eth0 | grep -qF "inet $1"; }

# has_lease — eth0 has an address of the LAN's server.
has_lease() {
  on_host ip address show dev eth0 | grep -qE 'inet 192\.168\.77\.1[0-9]{2}/'
}

# is_leased — and a route.
is_leased() {
  has_lease && on_host ip route show default proto dhcp | grep -q eth0
}

# moves_and_returns DROP_IN NOW IS_OFF RESTART — with the file that keeps the manager off: the move, NOW as it is
# printed, the manager told and started anew, the way back.
moves_and_returns() {
  local before during file=$1 now=$2
  before=$(network)
  run_pw --write-unmanaged uplink add br0 eth0
  assert_exit 0
  assert_out "now: $now"
  [[ $(on_host stat -c %a "$file") == 644 ]] || fail 'the manager cannot read it'
  on_host ping -c 1 -W 5 -q 192.168.77.1
  during=$(network)
  assert_json "$during" '.[0][] | select(.ifname == "eth0") | .master == "br0" and .addr_info == []'
  stays "$during"
  "$3"
  stays "$during"
  "$4"
  stays "$during"
  on_host ping -c 1 -W 5 -q 192.168.77.1
  on_host ping -c 1 -W 5 -q fd77::1
  run_pw uplink del br0
  assert_exit 0
  assert_out "now: $now"
  assert_network "$before"
  on_host test ! -e "$file"
}

# --- systemd-networkd ----------------------------------------------------------------------------------------

networkd_is_told() {
  on_host networkctl reload
  wait_until 60 networkd_says eth0 unmanaged
  networkd_says br0 unmanaged
}

networkd_starts_anew() {
  rig_stop networkd
  start_networkd
  wait_until 60 networkd_says eth0 unmanaged
}

# It is at it for ever then, where it finds what it would have set.
networkd_has_it() { networkd_says eth0 configuring || networkd_says eth0 configured; }

# network_file NAME LINE… — a file for eth0.
network_file() {
  on_host mkdir -p /run/systemd/network
  printf '%s\n' '[Match]' 'Name=eth0' '[Network]' IPv6AcceptRA=no "${@:2}" > "$BATS_TEST_TMPDIR/network"
  on_host install -m 644 "$BATS_TEST_TMPDIR/network" "/run/systemd/network/$1"
}

@test "systemd-networkd: refused, kept off, told and started anew; netplan's files; what it has leased" {
  need networkctl systemd
  bare
  # A name that stands before most others.
  network_file 00-lan.network Address=192.168.77.10/24 Gateway=192.168.77.1 Address=fd77::10/64 Gateway=fd77::1
  start_networkd
  wait_until 60 networkd_says eth0 configured
  wait_until 30 settled
  refused "'eth0' is managed by systemd-networkd" uplink add br0 eth0
  assert_err 'Unmanaged=yes'
  moves_and_returns /run/systemd/network/0-pipework-br0.network 'networkctl reload' networkd_is_told networkd_starts_anew
  on_host networkctl reload
  wait_until 60 networkd_has_it
  eth0_has 192.168.77.10/24

  # netplan writes such files
  need netplan netplan.io
  on_host rm /run/systemd/network/00-lan.network
  mkdir -p "$BATS_TEST_TMPDIR/root/etc/netplan"
  echo '{ network: { ethernets: { eth0: { addresses: [192.168.77.10/24], accept-ra: false } } } }' > "$BATS_TEST_TMPDIR/root/etc/netplan/lan.yaml"
  chmod 600 "$BATS_TEST_TMPDIR/root/etc/netplan/lan.yaml"
  on_host netplan generate --root-dir "$BATS_TEST_TMPDIR/root"
  on_host sh -c "install -m 644 '$BATS_TEST_TMPDIR'/root/run/systemd/network/* /run/systemd/network && networkctl reload"
  wait_until 60 networkd_has_it
  refused "'eth0' is managed by netplan (by systemd-networkd)" uplink add br0 eth0
  assert_err 'in /etc/netplan: bridges: { br0: { interfaces: [eth0]'

  # a lease that nobody would renew
  serve_leases
  on_host sh -c 'rm /run/systemd/network/*'
  network_file 20-lan.network DHCP=ipv4
  on_host networkctl reload
  wait_until 60 is_leased
  wait_until 30 settled
  refused 'by a lease, which systemd-networkd would not renew' --write-unmanaged uplink add br0 eth0
}

# --- NetworkManager ------------------------------------------------------------------------------------------

nm_starts_anew() {
  rig_stop nm
  start_nm
  wait_until 60 nm_says eth0 unmanaged
}

# nm_has_it — eth0 is no longer left alone; it may only be watched then, as it is what it would have made of it.
nm_has_it() { nm_says eth0 connected || nm_says eth0 'connected (externally)'; }

# nm_stays_off yes|no — it is started anew, told so by hand or not.
nm_stays_off() {
  rig_stop nm
  on_host sh -c 'rm -f /run/NetworkManager/conf.d/*'
  on_host mkdir -p /run/NetworkManager/conf.d
  [[ $1 == no ]] || on_host sh -c "printf '[keyfile]\nunmanaged-devices=interface-name:eth0\n' > /run/NetworkManager/conf.d/own.conf"
  start_nm
  if [[ $1 == yes ]]; then wait_until 60 nm_says eth0 unmanaged; else wait_until 60 nm_has_it; fi
  eth0_has 192.168.77.10/24
}

# connection LINE… — the one for eth0, what it says of IPv4 first.
connection() {
  mkdir -p "$RIG_DIR/nm/etc/system-connections"
  printf '%s\n' '[connection]' id=lan type=ethernet interface-name=eth0 uuid=11111111-1111-1111-1111-111111111111 '[ipv4]' \
    "$@" > "$RIG_DIR/nm/etc/system-connections/lan.nmconnection"
}

@test "NetworkManager: refused, kept off when it is started anew; the routes that it makes; what it has leased" {
  need nmcli network-manager
  bare
  connection method=manual address1=192.168.77.10/24,192.168.77.1 route1=10.99.0.0/16,192.168.77.1 \
    '[ipv6]' method=manual address1=fd77::10/64,fd77::1 addr-gen-mode=eui64
  start_nm
  wait_until 60 nm_says eth0 connected
  wait_until 30 settled
  refused "'eth0' is managed by NetworkManager" uplink add br0 eth0
  assert_err 'nmcli connection add type bridge'
  moves_and_returns /run/NetworkManager/conf.d/90-pipework-br0.conf 'systemctl restart NetworkManager' nm_starts_anew nm_starts_anew
  nm_stays_off no
  # kept off by somebody else: its file for eth0 says the contrary, so it is asked itself
  nm_stays_off yes
  on_host grep -q managed=true "/run/NetworkManager/devices/$(on_host cat /sys/class/net/eth0/ifindex)"
  pw uplink add br0 eth0
  pw uplink del br0
  nm_stays_off no

  # what it only watches is nobody's
  netns_guest blue
  pw --no-probe br1 netns:blue 10.0.0.2/24
  wait_until 60 nm_says br1 'connected (externally)'
  run_pw doctor br1 --json
  assert_json "$output" '[.findings[].id] | index("manager-holds") == null'
  pw disconnect netns:blue

  serve_leases
  rig_stop nm
  on_host ip address flush dev eth0
  on_host ip link set dev eth0 down
  connection method=auto '[ipv6]' method=disabled
  start_nm
  # It was told so little of eth0 that it would wait to be asked.
  on_host nmcli --wait 60 connection up lan
  wait_until 60 is_leased
  wait_until 30 settled
  refused 'by a lease, which NetworkManager would not renew' --write-unmanaged uplink add br0 eth0
}

# --- others --------------------------------------------------------------------------------------------------

# refuses_client NAME CMD… — while that client serves eth0, it is refused by its name.
refuses_client() {
  rig_daemon client unshare --mount sh -ec 'mkdir -p /run/client /var/lib/dhcpcd; mount --bind /run/client /var/lib/dhcpcd; exec "$@"' sh "${@:2}"
  wait_until 30 is_told_of "$1" || fail "$(< "$RIG_DIR/client.log")" || return
  # The others tell nobody what they were given.
  [[ $1 != dhcpcd ]] || wait_until 30 has_lease || fail "$(< "$RIG_DIR/client.log")" || return
  refused "'eth0' has its address from $1 (process " --write-unmanaged uplink add br0 eth0 || return
  rig_stop client
}

# is_told_of CLIENT — pipework sees it: a process has its name when it has begun.
is_told_of() {
  run_pw --dry-run uplink add br0 eth0
  [[ $stderr == *"has its address from $1"* ]]
}

@test "a DHCP client on the NIC, whichever it is and however it was started; ifupdown" {
  need dhclient isc-dhcp-client
  need dhcpcd dhcpcd5
  need ifup ifupdown
  serve_leases
  : > "$BATS_TEST_TMPDIR/empty"
  refuses_client dhclient dhclient -d -sf /bin/true -pf /dev/null -lf "$BATS_TEST_TMPDIR/leases" -cf "$BATS_TEST_TMPDIR/empty" eth0
  local common=(--nodev -4 -B -A -G -p -f "$BATS_TEST_TMPDIR/empty" -c /bin/true)
  refuses_client dhcpcd dhcpcd "${common[@]}" eth0
  # none named: all of them
  refuses_client dhcpcd dhcpcd "${common[@]}"
  refuses_client udhcpc busybox udhcpc -f -i eth0 -s /bin/true -t 1 -A 600

  on_host mkdir -p /run/network
  printf 'iface eth0 inet static\n  address 192.168.77.12/24\n' > "$BATS_TEST_TMPDIR/interfaces"
  on_host ifup --no-scripts --interfaces "$BATS_TEST_TMPDIR/interfaces" eth0
  eth0_has 192.168.77.12/24
  refused "'eth0' is managed by ifupdown" uplink add br0 eth0
  assert_err 'bridge_ports eth0'
  on_host ifdown --no-scripts --interfaces "$BATS_TEST_TMPDIR/interfaces" eth0
  on_host ip link set dev eth0 up
  pw --force uplink add br0 eth0
}
