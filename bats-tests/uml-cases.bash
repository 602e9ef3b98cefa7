# shellcheck shell=bash
# The cases that need User-Mode Linux; uml.bats boots it and makes a test of each. They run in there as root, one after
# the other, each a function called case_… in a shell of its own with errexit; the next starts on a clean host.
# A start of Node takes about a second in there, so each case does with few.

# shellcheck source=bats-tests/soak.bash
source "${BASH_SOURCE[0]%/*}/soak.bash"

OUT=/run/out
# The machine at the other end of vec0.
export TAP=192.168.79.1

# --- what cases are written with ---------------------------------------------------------------------------

# pw ARG… — runs pipework.
pw() {
  "$OUT/pipework" "$@"
}

# refused WHAT ARG… — pipework refuses it with exit code 1, says WHAT, and changes nothing.
refused() {
  local before code=0
  before=$(state)
  pw "${@:2}" > /run/said 2>&1 || code=$?
  if ((code != 1)) || ! grep -qF -- "$1" /run/said; then
    cat /run/said
    fail "exit code $code, and '$1' expected"
  fi
  same "$before" "$(state)"
}

# unchanged ARG… — pipework finds that nothing is to be done.
unchanged() {
  pw "$@" > /run/said
  grep -q 'nothing changed' /run/said || { cat /run/said; fail "not the same: $*"; }
}

# guest NAME… — makes namespaces: netns:NAME.
guest() {
  local name
  for name in "$@"; do
    ip netns add "$name"
    ip -n "$name" link set dev lo up
  done
}

# nic [NAME] — makes a NIC of the host, up, with its other end lan0 in the namespace lan, up, 10.0.0.1/24.
nic() {
  ip netns add lan
  ip link add "${1-up0}" type veth peer name lan0 netns lan
  ip -n lan addr add 10.0.0.1/24 dev lan0
  ip -n lan link set dev lan0 up
  ip link set dev "${1-up0}" up
}

# lan_vlan ID ADDRESS/PREFIX — gives the LAN that VLAN, tagged on its wire.
lan_vlan() {
  ip -n lan link add link lan0 name "lan0.$1" type vlan id "$1"
  ip -n lan addr add "$2" dev "lan0.$1"
  ip -n lan link set dev "lan0.$1" up
}

# inside GUEST CMD… — runs CMD in the guest's network.
inside() {
  nsenter --net="/run/netns/$1" "${@:2}"
}

# link GUEST IFNAME — the link with all details, in one line.
link() {
  ip -n "$1" -d -o link show dev "$2"
}

# reaches GUEST ADDRESS — a ping comes back, within 30 seconds.
reaches() {
  local end=$((SECONDS + 30))
  until inside "$1" ping -c 1 -W 1 -q "$2" > /dev/null; do
    ((SECONDS < end)) || fail "$1 does not reach $2"
  done
}

# apart GUEST ADDRESS — no ping comes back. Ask it after something else has reached that address.
apart() {
  ! inside "$1" ping -c 2 -i 0.2 -W 1 -q "$2" > /dev/null || fail "$1 reaches $2"
}

# vlans PORT — the VLANs of a bridge's port, in one line: `10 PVID Egress Untagged, 20, 21`.
vlans() {
  bridge vlan show dev "$1" | sed '1d; s/^[^ ]* *//' | paste -sd , | sed 's/,/, /g'
}

# port GUEST [IFNAME] — the name of the host's end of its link.
port() {
  local index
  index=$(inside "$1" cat "/sys/class/net/${2-eth1}/iflink" 2> /dev/null || ip -n "$1" -o link show dev "${2-eth1}" | sed 's/.*@if\([0-9]*\):.*/\1/')
  ip -o link | sed -n "s/^$index: \([^@:]*\).*/\1/p"
}

# is ACTUAL EXPECTED — two texts are equal.
is() {
  [[ $1 == "$2" ]] || fail "expected: $2" "but it is: $1"
}

# has TEXT PART — the part is in the text.
has() {
  [[ $1 == *"$2"* ]] || fail "not there: $2" "in: $1"
}

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# same BEFORE AFTER — two outputs of state are equal.
same() {
  [[ $1 == "$2" ]] || { diff -U 3 <(echo "$1") <(echo "$2"); fail 'the state is another'; }
}

# state — what pipework may change on the host and in all guests, without what comes and goes by itself. (Programs are
# slow to start in here: as few as can be.)
state() {
  local name where
  for name in host /run/netns/*; do
    name=${name##*/}
    [[ $name != '*' ]] || continue
    echo "== $name"
    printf '%s\n' link 'addr show scope global' 'route show table main' 'route show table all root ::/0' > /run/questions
    where=()
    [[ $name == host ]] || where=(-n "$name")
    ip "${where[@]}" -o -batch /run/questions
  done | sed -E '
    / table local | fe80::\/64 |^fe80::\/64 |^ff00::\/8 |^multicast ff00::/d
    s/^[0-9]+: //; s/@if[0-9]+|link-netns(id)? [^ ]*//g; s/(NO-CARRIER|LOWER_UP|M-DOWN),?//g; s/,>/>/
    s/ (state|qdisc|qlen|mode) [^ ]+//g; s/ (linkdown|tentative|dad[a-z]*)//g; s/ +(valid|preferred)_lft [^ ]*//g
    s/^(v[^ ]*pl[0-9a-f]+: .*link\/ether) [^ ]*/\1 drawn/
    # Each line with its namespace before it.
    /^== /{h; d}; G; s/^(.*)\n== (.*)$/\2 \1/' | sort
  for name in /sys/class/net/*/bridge/vlan_filtering; do
    [[ ! -e $name ]] || echo "$name $(< "$name")"
  done
  bridge vlan show
}

# survives_failure ARG… — the command fails after some of its steps, and all is as before; then it is run.
survives_failure() {
  local before n
  before=$(state)
  count_steps "$before" "$@"
  for n in $(steps_of 1 "$STEPS"); do
    ((n == 1)) || fails_after "$n" "$before" "$@"
  done
  pw "$@"
}

# survives RESET ARG… — the same, and killed after such a step, it does what it shall when it is run again. RESET is the
# name of a function that takes all away.
survives() {
  local before n mended
  before=$(state)
  count_steps "$before" "${@:2}"
  for n in $(steps_of 1 "$STEPS"); do
    ((n == 1)) || fails_after "$n" "$before" "${@:2}"
    PIPEWORK_KILL_AFTER=$n pw "${@:2}" > /run/said 2>&1 && fail "not killed after step $n"
    pw "${@:2}" > /run/said 2>&1 || { cat /run/said; fail "not mended after a kill after step $n"; }
    [[ -n ${mended-} ]] || mended=$(state)
    same "$mended" "$(state)" || fail "mended otherwise after a kill after step $n"
    "$1"
  done
  pw "${@:2}"
  same "$mended" "$(state)"
}

# count_steps STATE ARG… — the command fails after its first step, and says how many there are: STEPS.
count_steps() {
  fails_after 1 "$@"
  STEPS=$(sed -nE 's/.*stopped after step 1 of ([0-9]+).*/\1/p' /run/said)
  ((STEPS > 1)) || fail 'it has one step only'
}

# fails_after N STATE ARG… — the command fails after step N, and leaves the state as it is.
fails_after() {
  local code=0
  PIPEWORK_FAIL_AFTER=$1 pw "${@:3}" > /run/said 2>&1 || code=$?
  ((code == 1)) || { cat /run/said; fail "exit code $code after step $1"; }
  same "$2" "$(state)" || fail "after step $1"
}

# --- dummy -------------------------------------------------------------------------------------------------

case_dummy_is_an_interface_of_the_guest_only() {
  guest a
  local before
  before=$(state)
  pw dummy netns:a 10.7.0.2/24@10.7.0.1,fd07::2/64 02:00:00:00:00:77
  has "$(link a eth1)" ' dummy '
  has "$(link a eth1)" '02:00:00:00:00:77'
  has "$(ip -n a addr show dev eth1)" 'inet 10.7.0.2/24 brd 10.7.0.255'
  has "$(ip -n a addr show dev eth1)" 'inet6 fd07::2/64'
  has "$(ip -n a route)" 'default via 10.7.0.1 dev eth1'
  has "$(pw ls)" 'dummy'
  unchanged dummy netns:a 10.7.0.2/24@10.7.0.1,fd07::2/64 02:00:00:00:00:77
  local index
  index=$(ip -n a -o link show dev eth1 | cut -d : -f 1)
  pw dummy netns:a 10.7.0.3/24
  is "$(ip -n a -o -4 addr show dev eth1 | awk '{print $4}')" 10.7.0.3/24
  is "$(ip -n a -o link show dev eth1 | cut -d : -f 1)" "$index"
  pw disconnect netns:a
  same "$before" "$(state)"
}

case_dummy_survives_failure_and_kill() {
  guest a
  away() { ip -n a link del dev eth1; }
  survives away dummy netns:a 0/0
}

case_an_interface_called_dummy_wins() {
  guest a
  nic dummy
  pw dummy netns:a 10.0.0.2/24
  has "$(link a eth1)" ' macvlan '
  reaches a 10.0.0.1
  pw disconnect netns:a
  pw --mode private dummy netns:a 10.0.0.2/24
  ip link set dev dummy down
  ip link set dev dummy name up0
  refused 'is a macvlan and no dummy interface' dummy netns:a 10.0.0.2/24
}

# --- a VLAN of a NIC ---------------------------------------------------------------------------------------

case_VLAN_of_a_NIC_is_made_shared_and_removed_with_the_last() {
  guest a b
  nic
  lan_vlan 10 10.10.0.1/24
  local before
  before=$(state)
  pw up0 netns:a 10.10.0.2/24 @10
  is "$(sed -n 's/.*VID: \([0-9]*\).*/\1/p' /proc/net/vlan/up0.10)" 10
  pw up0 netns:b 10.10.0.3/24 @10
  reaches a 10.10.0.1
  reaches a 10.10.0.3
  unchanged up0 netns:a 10.10.0.2/24 @10
  local alias saved
  alias=$(ip -n b -j link show dev eth1 | jq -r '.[0].ifalias')
  ip -n b link set dev eth1 alias "${alias/@10/@20}"
  saved=$(pw save)
  ip -n b link set dev eth1 alias "$alias"
  has "$saved" 'up0 netns:a 10.10.0.2/24 @10'
  has "$saved" 'says a record inside a guest: it is in VLAN 10'
  pw disconnect netns:a
  reaches b 10.10.0.1
  pw disconnect netns:b
  same "$before" "$(state)"
}

case_VLAN_of_a_NIC_is_apart_from_the_others() {
  guest a
  nic
  lan_vlan 10 10.10.0.1/24
  lan_vlan 20 10.20.0.1/24
  local all=10.0.0.2/24,10.10.0.2/24,10.20.0.2/24
  pw --no-probe up0 netns:a "$all" @10
  reaches a 10.10.0.1
  apart a 10.20.0.1
  apart a 10.0.0.1
  refused 'is not on' up0 netns:a "$all" @20
  survives_failure --no-probe --force up0 netns:a "$all" @20
  reaches a 10.20.0.1
  apart a 10.10.0.1
  [[ ! -e /sys/class/net/up0.10 ]] || fail 'up0.10 was ours, and is left'
  # Somebody's own link on it would go with it.
  ip link add link up0.20 name mine type macvlan
  pw disconnect netns:a
  ip link show dev mine > /dev/null || fail 'the link of somebody else went'
  ip link del dev up0.20
}

case_VLAN_device_that_is_there_is_checked_and_stays() {
  guest a
  nic
  ip link add link up0 name up0.10 type vlan id 20
  refused 'is not VLAN 10' up0 netns:a 10.10.0.2/24 @10
  ip link del dev up0.10
  ip link add link up0 name up0.10 type vlan id 10
  local before
  before=$(state)
  pw up0 netns:a 10.10.0.2/24 @10
  pw disconnect netns:a
  ip link set dev up0.10 down
  same "$before" "$(state)"
}

case_VLAN_of_a_NIC_with_a_long_name() {
  guest a
  nic enp0s31f6longer
  lan_vlan 4094 10.10.0.1/24
  pw enp0s31f6longer netns:a 10.10.0.2/24 @4094
  reaches a 10.10.0.1
  unchanged enp0s31f6longer netns:a 10.10.0.2/24 @4094
  pw disconnect netns:a
  is "$(ip -o link show type vlan)" ''
}

case_VLAN_of_a_NIC_survives_failure_and_kill() {
  guest a
  nic
  away() {
    ip -n a link del dev eth1
    ip link del dev up0.10
  }
  survives away up0 netns:a 0/0 @10
  survives_failure disconnect netns:a
  refused 'has one VLAN' up0 netns:a 10.10.0.2/24 @10,20
}

# --- ipvlan and macvlan ------------------------------------------------------------------------------------

case_ipvlan_l2_shares_the_MAC_address_of_the_NIC() {
  guest a b
  nic
  local before
  before=$(state)
  pw --kind ipvlan up0 netns:a 10.0.0.2/24
  has "$(link a eth1)" 'ipvlan  mode l2'
  is "$(link a eth1 | sed 's/.*ether \([^ ]*\).*/\1/')" "$(cat /sys/class/net/up0/address)"
  pw --kind ipvlan up0 netns:b 10.0.0.3/24@10.0.0.1
  reaches a 10.0.0.1
  reaches a 10.0.0.3
  unchanged --kind ipvlan up0 netns:a 10.0.0.2/24
  refused 'is a ipvlan' up0 netns:a 10.0.0.2/24
  pw disconnect netns:a
  pw disconnect netns:b
  same "$before" "$(state)"
}

# leases ADDRESSES [ARG…] — dnsmasq on the LAN, on lan0 or what ARG says; its log is /run/dnsmasq.
leases() {
  inside lan dnsmasq --conf-file=/dev/null --port=0 --bind-interfaces --no-ping --dhcp-authoritative --log-dhcp \
    --dhcp-leasefile=/run/leases --pid-file= --log-facility=/run/dnsmasq --dhcp-range="$1" "${@:2}"
}

case_ipvlan_by_DHCP_and_a_VLAN_given_back_when_the_guest_is_gone() {
  local guest
  : > /run/dnsmasq
  nic
  lan_vlan 10 10.10.0.1/24
  leases 10.0.0.50,10.0.0.60,2m --interface=lan0 --interface=lan0.10 --dhcp-range=10.10.0.50,10.10.0.60,2m
  guest a c d
  refused "an ipvlan in mode l3 on 'up0' gets no broadcasts" up0 --kind ipvlan --mode l3 netns:a dhcp
  refused 'needs broadcast answers, which dhclient does not request' up0 --kind ipvlan netns:a dhclient
  # One MAC address for both: the client's identifier tells them apart.
  pw up0 --kind ipvlan netns:a udhcpc
  pw up0 --kind ipvlan netns:c dhcpcd
  [[ $(for guest in a c; do ip -n "$guest" -4 -o addr show dev eth1; done | grep -o '10\.0\.0\.[56]./24' | sort -u | wc -l) == 2 ]]
  reaches a 10.0.0.1
  pw up0 netns:d udhcpc @10
  has "$(ip -n d addr show dev eth1)" 'inet 10.10.0.'
  for guest in c d; do ip netns del "$guest"; done
  sleep 3
  for guest in a c d; do pw disconnect "netns:$guest" | tee /run/said; grep -q 'release .* to the DHCP server' /run/said; done
  sleep 1
  [[ $(grep -c DHCPRELEASE /run/dnsmasq) == 3 ]] || { cat /run/dnsmasq; fail 'not all are given back'; }
  [[ -z $(ls /run/pipework/dhcp) && $(echo /run/netns/*) == '/run/netns/a /run/netns/lan' ]]
}

case_ipvlan_l3_and_l3s() {
  guest a b
  nic
  local mode
  for mode in l3 l3s; do
    pw --kind ipvlan --mode "$mode" up0 netns:a 10.1.0.2/24
    pw --kind ipvlan --mode "$mode" up0 netns:b 10.2.0.2/24
    has "$(link a eth1)" "mode $mode "
    ip -n lan route replace 10.1.0.0/24 dev lan0
    ip -n a route replace default dev eth1
    ip -n b route replace default dev eth1
    reaches a 10.2.0.2
    pw disconnect netns:a
    pw disconnect netns:b
  done
}

case_ipvlan_survives_failure_and_kill() {
  guest a
  nic
  away() { ip -n a link del dev eth1; }
  survives away --kind ipvlan up0 netns:a 0/0
}

case_macvlan_modes() {
  guest a b
  nic
  pw up0 netns:a 10.0.0.2/24
  pw up0 netns:b 10.0.0.3/24
  reaches a 10.0.0.3
  pw --mode private up0 netns:a 10.0.0.2/24
  pw --mode private up0 netns:b 10.0.0.3/24
  reaches a 10.0.0.1
  apart a 10.0.0.3
  pw disconnect netns:b
  pw disconnect netns:a
  pw --mode passthru up0 netns:a 10.0.0.2/24
  has "$(link a eth1)" 'mode passthru'
  reaches a 10.0.0.1
}

# --- VLANs of a Linux bridge -------------------------------------------------------------------------------

case_bridge_keeps_VLANs_apart() {
  guest a b c
  local before
  before=$(state)
  pw br1 netns:a 10.0.0.2/24 @10
  is "$(cat /sys/class/net/br1/bridge/vlan_filtering)" 1
  is "$(vlans "$(port a)")" '10 PVID Egress Untagged'
  pw br1 netns:b 10.0.0.3/24 @10
  pw br1 netns:c 10.0.0.4/24 @20
  reaches a 10.0.0.3
  apart a 10.0.0.4
  apart c 10.0.0.2
  unchanged br1 netns:a 10.0.0.2/24 @10
  pw disconnect netns:a
  pw disconnect netns:b
  pw disconnect netns:c
  same "$before" "$(state)"
}

case_bridge_trunk_carries_tags() {
  guest router ten twenty thirty
  pw br1 netns:router 10.10.0.1/24 @10,20-22
  is "$(vlans "$(port router)")" '10 PVID Egress Untagged, 20, 21, 22'
  pw br1 netns:ten 10.10.0.2/24 @10
  pw br1 netns:twenty 10.20.0.2/24 @20
  pw br1 netns:thirty 10.20.0.3/24 @30
  ip -n router link add link eth1 name eth1.20 type vlan id 20
  ip -n router link add link eth1 name eth1.30 type vlan id 30
  ip -n router addr add 10.20.0.1/24 dev eth1.20
  ip -n router link set dev eth1.20 up
  ip -n router link set dev eth1.30 up
  reaches router 10.10.0.2
  reaches router 10.20.0.2
  apart thirty 10.20.0.2
  ip -n router addr add 10.20.0.9/24 dev eth1.30
  ip -n router addr del 10.20.0.1/24 dev eth1.20
  apart router 10.20.0.3
  # a trunk without a native VLAN: what carries no tag does not pass
  pw br1 netns:router 10.10.0.1/24 @20-22
  is "$(vlans "$(port router)")" '20, 21, 22'
  ip -n router neigh flush all
  apart router 10.10.0.2
}

case_bridge_VLANs_change_in_place() {
  guest a b
  pw br1 netns:a 10.0.0.2/24 @10
  pw br1 netns:b 10.0.0.3/24
  local end index
  end=$(port a)
  index=$(cat "/sys/class/net/$end/ifindex")
  is "$(vlans "$(port b)")" '1 PVID Egress Untagged'
  apart a 10.0.0.3
  survives_failure br1 netns:a 10.0.0.2/24 @20,10,30-33
  is "$(vlans "$end")" '10, 20 PVID Egress Untagged, 30, 31, 32, 33'
  pw br1 netns:a 10.0.0.2/24
  is "$(vlans "$end")" '1 PVID Egress Untagged'
  is "$(cat "/sys/class/net/$end/ifindex")" "$index"
  reaches a 10.0.0.3
  # by hand, where pipework was not asked: left alone
  bridge vlan add dev "$end" vid 77
  unchanged br1 netns:a 10.0.0.2/24
  is "$(vlans "$end")" '1 PVID Egress Untagged, 77'
  # by hand, against what was asked: put right
  pw br1 netns:a 10.0.0.2/24 @10
  bridge vlan add dev "$end" vid 77
  pw br1 netns:a 10.0.0.2/24 @10
  is "$(vlans "$end")" '10 PVID Egress Untagged'
}

case_bridge_that_does_not_keep_VLANs_apart_is_asked_for() {
  guest a b c
  ip link add br1 type bridge
  ip link set dev br1 up
  pw br1 netns:b 10.0.0.3/24
  pw br1 netns:c 10.0.0.4/24
  refused 'VLAN filtering is off' br1 netns:a 10.0.0.2/24 @10
  survives_failure --vlan-filtering br1 netns:a 0/0 @10
  pw br1 netns:a 10.0.0.2/24 @10
  is "$(cat /sys/class/net/br1/bridge/vlan_filtering)" 1
  reaches b 10.0.0.4
  apart b 10.0.0.2
  unchanged br1 netns:a 10.0.0.2/24 @10
}

case_bridge_with_another_default_VLAN() {
  guest a b
  ip link add br1 type bridge vlan_filtering 1 vlan_default_pvid 5
  ip link set dev br1 up
  pw br1 netns:a 10.0.0.2/24
  is "$(vlans "$(port a)")" '5 PVID Egress Untagged'
  pw br1 netns:b 10.0.0.3/24 @6
  is "$(vlans "$(port b)")" '6 PVID Egress Untagged'
  pw br1 netns:b 10.0.0.3/24 @5
  is "$(vlans "$(port b)")" '5 PVID Egress Untagged'
  reaches a 10.0.0.3
}

case_bridge_VLAN_survives_failure_and_kill() {
  guest a
  away() {
    ip -n a link del dev eth1
    ip link del dev br1
  }
  survives away br1 netns:a 0/0 @10
  survives_failure disconnect netns:a
}

case_move_to_another_bridge_takes_the_VLANs_along() {
  guest a
  pw br1 netns:a 0/0 @10,20
  ip link add br2 address 02:00:00:00:00:b2 type bridge vlan_filtering 1
  ip link set dev br2 up
  refused "is on 'br1'" br2 netns:a 0/0 @10
  survives_failure --force br2 netns:a 0/0 @10
  is "$(vlans "$(port a)")" '10 PVID Egress Untagged'
}

case_bridge_VLAN_reaches_the_LAN_through_an_uplink() {
  guest a
  nic
  lan_vlan 10 10.10.0.1/24
  pw br1 netns:a 10.10.0.2/24 @10
  ip link set dev up0 master br1
  bridge vlan add dev up0 vid 10
  reaches a 10.10.0.1
}

case_dry_run_of_a_VLAN_is_a_script_that_does_the_same() {
  guest a
  pw br1 netns:a 10.0.0.2/24 @10,20-22
  local wanted
  wanted=$(state)
  ip -n a link del dev eth1
  ip link del dev br1
  pw --dry-run br1 netns:a 10.0.0.2/24 @10,20-22 > /run/script
  sh /run/script
  same "$wanted" "$(state)"
}

# --- Open vSwitch in the kernel -----------------------------------------------------------------------------

# vswitch — Open vSwitch with the kernel's datapath; ended with the case.
vswitch() {
  export OVS_RUNDIR=/run/openvswitch
  local db=unix:$OVS_RUNDIR/db.sock
  modprobe openvswitch
  mkdir -p "$OVS_RUNDIR"
  ovsdb-tool create "$OVS_RUNDIR/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  ovsdb-server "$OVS_RUNDIR/conf.db" "--remote=p$db" --pidfile --detach
  ovs-vsctl --timeout=60 --no-wait init
  # Until ten seconds after the boot it counts no processors (count_cpu_cores), and then takes no packets from any.
  while (($(cut -d . -f 1 /proc/uptime) < 12)); do sleep 0.5; done
  ovs-vswitchd "$db" --pidfile --detach
  trap 'kill $(cat "$OVS_RUNDIR"/*.pid); while pgrep "^ovs" > /dev/null; do sleep 0.1; done' EXIT
}

case_Open_vSwitch_forwards_in_the_kernel() {
  guest web db other
  vswitch
  local before
  before=$(state)
  pw ovs1 netns:web 10.1.1.2/24 @10
  pw ovs1 netns:db 10.1.1.3/24 @10
  pw ovs1 netns:other 10.1.1.4/24 @20
  is "$(ovs-vsctl get Bridge ovs1 datapath_type)" '""'
  has "$(ovs-dpctl show)" "system@ovs-system"
  has "$(ovs-dpctl show)" "$(port web)"
  reaches web 10.1.1.3
  apart web 10.1.1.4
  # what has passed once is known to the kernel
  has "$(ovs-dpctl dump-flows)" 'eth_type(0x0800)'
  unchanged ovs1 netns:web 10.1.1.2/24 @10
  # TCP with the checksums that the kernel leaves to hardware
  head -c 3000000 /dev/urandom > /run/sent
  inside db nc -N -l -p 5000 > /run/got &
  until inside db ss -Hltn 'sport = :5000' | grep -q .; do sleep 0.1; done
  inside web timeout 60 nc -N 10.1.1.3 5000 < /run/sent
  wait $!
  cmp /run/sent /run/got
  pw disconnect netns:web
  pw disconnect netns:db
  pw disconnect netns:other
  is "$(ovs-vsctl list-br)" ''
  same "$before" "$(state)"
}

# --- a NIC as real ones are --------------------------------------------------------------------------------

case_macvlan_and_VLAN_on_a_real_NIC() {
  guest a
  pw vec0 netns:a 192.168.79.5/24
  reaches a "$TAP"
  pw disconnect netns:a
  pw vec0 netns:a 192.168.79.5/24 @10
  is "$(sed -n 's/.*VID: \([0-9]*\).*/\1/p' /proc/net/vlan/vec0.10)" 10
}

# --- golden plans and the README ---------------------------------------------------------------------------

# What a veth cannot show: a real NIC outlives its guest, and falls back into the host under the name it had in there.
case_a_real_NIC_comes_home() {
  guest a
  ip addr add 192.168.79.9/24 dev vec0
  ip link set dev vec0 up
  ip route add 10.9.0.0/16 via "$TAP"
  local before
  before=$(state)
  pw --direct-phys vec0 -i eth1 netns:a 192.168.79.5/24
  reaches a "$TAP"
  unchanged --direct-phys vec0 -i eth1 netns:a 192.168.79.5/24
  pw disconnect netns:a
  same "$before" "$(state)"
  # the guest ends with the NIC in it
  pw --direct-phys vec0 -i lan5 netns:a 192.168.79.5/24
  ip netns del a
  until ip link show dev lan5 > /dev/null 2>&1; do sleep 0.2; done
  pw ls | grep -E 'lan5 .* stray'
  # the doctor says so, with the command that is right; this kernel has every kind of link
  ! pw doctor > /run/said || fail 'healthy with a stray NIC'
  has "$(< /run/said)" "the NIC 'vec0' fell back into the host as 'lan5'"
  has "$(< /run/said)" 'do: pipework disconnect netns:a lan5'
  [[ $(< /run/said) != *kernel-missing* ]] || fail "$(< /run/said)"
  pw disconnect netns:a
  guest a
  same "$before" "$(state)"
  # and once more: the next attach takes the stray as the NIC that it is
  pw --direct-phys vec0 -i lan5 netns:a 192.168.79.5/24
  ip netns del a
  until ip link show dev lan5 > /dev/null 2>&1; do sleep 0.2; done
  # what the guest may have written on it opens nothing on the host, whoever comes next
  guest b
  local alias
  for alias in "g=netns:x;i=eth9;h=br8" "g=netns:a;i=lan5;h=br8;n=vec0"; do
    ip link set dev lan5 alias "pipework1;$alias;a=10.66.0.2/24;w=--bridge-address=10.66.0.1/24"
    pw --no-probe br8 --bridge-address 10.8.0.1/24 netns:b 10.8.0.2/24
    has "$(ip -br address show dev br8)" 10.8.0.1/24
    [[ $(ip -br address show dev br8) != *10.66.* ]] || fail "obeyed: $alias"
    pw disconnect netns:b
  done
  guest a
  pw --direct-phys vec0 -i eth1 netns:a 192.168.79.5/24
  reaches a "$TAP"
  pw disconnect netns:a
  ip netns del b
  same "$before" "$(state)"
}

case_a_real_NIC_is_put_right_by_the_watch() {
  local before watch end
  ip link set dev vec0 down
  ip -batch - <<< $'link set dev vec0 up\naddr add 192.168.79.3/24 dev vec0\nroute add 10.99.0.0/16 via 192.168.79.1'
  guest a
  before=$(ip -br address show dev vec0; ip route show dev vec0)
  echo '--direct-phys vec0 -i lan5 netns:a 192.168.79.5/24' > /run/lan.pipework
  # No Docker and no Podman in here; the latter is installed, but takes seconds to say so.
  mkdir -p /run/bin
  ln -sf "$(command -v node)" "$(command -v ip)" "$(command -v sysctl)" /run/bin
  PATH=/run/bin "$OUT/pipework" watch /run/lan.pipework > /run/watch.log 2>&1 &
  watch=$!
  end=$((SECONDS + 120))
  until ip -n a -br address show dev lan5 2> /dev/null | grep -q 192.168.79.5; do
    ((SECONDS < end)) || fail "$(cat /run/watch.log)"
    sleep 0.5
  done
  # The guest ends with the NIC in it, and comes again.
  ip netns del a
  until grep -q 'vec0 is back in the host' /run/watch.log; do
    ((SECONDS < end)) || fail "$(cat /run/watch.log; ip -br link)"
    sleep 0.5
  done
  same "$before" "$(ip -br address show dev vec0; ip route show dev vec0)"
  guest a
  until ip -n a -br address show dev lan5 2> /dev/null | grep -q 192.168.79.5; do
    ((SECONDS < end)) || fail "$(cat /run/watch.log)"
    sleep 0.5
  done
  kill -TERM "$watch"
  wait "$watch"
  pw disconnect netns:a
  same "$before" "$(ip -br address show dev vec0; ip route show dev vec0)"
  ip addr flush dev vec0
}

case_golden_plans_run_as_they_are() {
  local file count=0
  cd "${BASH_SOURCE[0]%/*}/.." || fail 'no checkout'
  for file in src/plan/golden/*.sh; do
    grep -qE '^(# given: )?(bridge vlan|ip link .*(type (vlan|ipvlan|macvlan|dummy)|vlan_filtering))' "$file" || continue
    echo "$file"
    guest blue
    sed -n 's/^# given: //p' "$file" > /run/given
    sh -eu /run/given
    sh "$file"
    is "$(find /run/netns -name 'pipework*')" ''
    clean
    count=$((count + 1))
  done
  ((count >= 10)) || fail "only $count plans"
}

case_README_examples_of_VLANs_and_dummy() {
  local line count=0 readme=${BASH_SOURCE[0]%/*}/../README.md
  guest web db router
  nic eth0
  # shellcheck disable=SC2016 # backquotes; there is no Docker here for the guests
  sed -n '/^```sh vlan$/,/^```$/p' "$readme" | sed -nE 's/ (web|db|router)( |$)/ netns:\1\2/; s/^(sudo )?pipework //p' > /run/lines
  while IFS= read -r line; do
    echo "$line"
    # shellcheck disable=SC2086 # the line is words, as at a prompt
    pw $line
    count=$((count + 1))
  done < /run/lines
  ((count >= 5)) || fail "only $count examples"
}

case_examples_of_help_with_VLANs_and_dummy() {
  local line count=0
  guest web
  pw help --json | jq -r '.examples[].line' | grep -E ' @| dummy ' | sed 's/ web / netns:web /; s/^pipework //' > /run/lines
  while IFS= read -r line; do
    echo "$line"
    # shellcheck disable=SC2086 # the line is words, as at a prompt
    pw $line
    pw disconnect netns:web
    count=$((count + 1))
  done < /run/lines
  ((count >= 2)) || fail "only $count examples"
  nic eth0
  # shellcheck disable=SC2046 # the line is words, as at a prompt
  pw $(pw help uplink --json | jq -r '.examples[].line | select(contains(" @")) | ltrimstr("pipework ")')
  has "$(ip -o link show dev eth0.63)" 'master br63'
}

# --- how they are run --------------------------------------------------------------------------------------

# --- the host's NIC in a bridge ------------------------------------------------------------------------------

# addressed — all that the host's links hold, in their order.
addressed() {
  ip -o addr show; ip -4 route show table all; ip -6 route show table all | sort; ip rule
}

# settled — waits until addresses of IPv6 are in use, and no uplink is half-way.
settled() {
  local end=$((SECONDS + 60))
  while [[ $(ip -6 -o addr show) == *' tentative'* ]] || grep -qs '"stage":"moving"' /run/pipework/uplinks/*; do
    ((SECONDS < end)) || fail 'not settled' "$(ip addr)" "$(cat /run/pipework/uplinks/*)"
    sleep 0.2
  done
}

# furnish — vec0 as the NIC of a host: up, two families, routes in two tables.
furnish() {
  ip addr add 192.168.79.2/24 brd + dev vec0
  ip addr add fd79::2/64 dev vec0
  ip link set dev vec0 up
  ip route add default via "$TAP"
  ip route add 10.9.0.0/16 via "$TAP" table 100
  settled
}

case_uplink_moves_a_NIC_as_real_ones_are() {
  furnish
  guest a
  local before during n
  before=$(addressed)
  pw br0@vec0 netns:a 192.168.79.50/24
  ping -c 1 -W 5 -q "$TAP"
  reaches a "$TAP"
  has "$(ip -o link show dev vec0)" 'master br0'
  is "$(ip -o addr show dev vec0)" ''
  has "$(ip route show table 100)" 'dev br0'
  unchanged br0@vec0 netns:a 192.168.79.50/24
  settled
  during=$(addressed)
  PIPEWORK_KILL_AFTER=15 pw uplink del br0 || true
  settled
  same "$during" "$(addressed)"
  pw disconnect netns:a
  pw uplink del br0
  same "$before" "$(addressed)"
  for n in 9 14 20; do
    PIPEWORK_KILL_AFTER=$n pw uplink add br0 vec0 || true
    settled
    same "$before" "$(addressed)"
    ping -c 1 -W 5 -q "$TAP"
  done
  ip route del 10.9.0.0/16 table 100
}

case_uplink_on_a_VLAN() {
  guest a
  nic
  lan_vlan 63 10.63.0.1/24
  local before
  before=$(state)
  pw br63@up0 netns:a 10.63.0.2/24 @63
  reaches a 10.63.0.1
  has "$(ip -d -o link show dev up0.63)" 'vlan protocol 802.1Q id 63'
  has "$(ip -o link show dev up0.63)" 'master br63'
  has "$(pw ls)" 'br63@up0'
  has "$(pw save)" '@63'
  unchanged br63@up0 netns:a 10.63.0.2/24 @63
  unchanged uplink add br63 up0 @63
  pw disconnect netns:a
  pw uplink del br63
  same "$before" "$(state)"
  PIPEWORK_KILL_AFTER=6 pw uplink add br63 up0 @63 || true
  settled
  same "$before" "$(state)"
}

# bonded — bond0, up, 10.0.0.2/24, of the NICs s0 and s1 at a switch of the LAN, which is 10.0.0.1.
bonded() {
  local name end
  modprobe bonding max_bonds=0
  ip netns add lan
  ip -n lan link add lan0 type bridge
  ip link add bond0 type bond mode active-backup miimon 100
  for name in s0 s1; do
    ip link add "$name" type veth peer name "at-$name" netns lan
    ip -n lan link set dev "at-$name" master lan0 up
    ip link set dev "$name" master bond0
  done
  ip -n lan link set dev lan0 up
  ip -n lan addr add 10.0.0.1/24 dev lan0
  ip link set dev bond0 up
  ip addr add 10.0.0.2/24 dev bond0
  ip route add 10.9.0.0/16 via 10.0.0.1
  ping -c 1 -w 20 -q 10.0.0.1
}

case_bond_is_bridged_and_shared_and_its_slaves_are_not() {
  guest a
  bonded
  lan_vlan 63 10.63.0.1/24
  local before all
  refused "'s0' is a port of 'bond0'" s0 netns:a 10.0.0.5/24
  refused "'s0' is a port of 'bond0'" --direct-phys s0 netns:a 10.0.0.5/24
  refused 'pipework routed:bond0' routed:s0 netns:a 10.0.0.5/32
  refused 'pipework uplink add br0 bond0' uplink add br0 s0
  settled
  before=$(state) all=$(addressed)
  pw bond0 netns:a 10.0.0.5/24
  reaches a 10.0.0.1
  refused 'has the macvlan eth1 of a guest' uplink add br0 bond0
  pw disconnect netns:a
  # a bond has LRO, which the kernel turns off on a port
  has "$(ethtool -k bond0)" 'large-receive-offload: on'
  pw br0@bond0 netns:a 10.0.0.5/24
  has "$(ethtool -k bond0)" 'large-receive-offload: off'
  reaches a 10.0.0.1
  reaches a 10.0.0.2
  # the other slave takes over: the bridge is none the wiser
  ip link set dev s0 down
  ping -c 1 -w 20 -q 10.0.0.1
  reaches a 10.0.0.1
  ip link set dev s0 up
  pw disconnect netns:a
  pw uplink del br0
  settled
  same "$before" "$(state)"
  same "$all" "$(addressed)"
  has "$(ethtool -k bond0)" 'large-receive-offload: on'
  PIPEWORK_KILL_AFTER=12 pw uplink add br0 bond0 || true
  settled
  same "$all" "$(addressed)"
  has "$(ethtool -k bond0)" 'large-receive-offload: on'
  pw br63@bond0 netns:a 10.63.0.2/24 @63
  reaches a 10.63.0.1
  has "$(ip -o link show dev bond0.63)" 'master br63'
  pw disconnect netns:a
  pw uplink del br63
  same "$before" "$(state)"
}

# on_other CMD… — runs CMD on a second host, with a /run/pipework of its own.
on_other() {
  ip netns exec other sh -c 'mkdir -p /run/pipework; mount -t tmpfs none /run/pipework; exec "$@"' sh "$@"
}

case_VLANs_of_two_hosts_on_one_LAN() {
  guest a b c
  nic
  local vid
  # the LAN is a switch with a port for each of the two hosts; it carries tags
  ip netns add other
  ip -n lan addr flush dev lan0
  ip -n lan link add up1 type veth peer name lan1
  ip -n lan link set dev up1 netns other name up0
  ip -n lan link add switch type bridge
  ip -n lan -batch - <<< $'link set dev lan0 master switch\nlink set dev lan1 master switch up\nlink set dev switch up'
  ip -n other link set dev lo up
  ip -n other link set dev up0 up
  pw --no-probe br1 netns:a 10.0.0.2/24 @10
  on_other "$OUT/pipework" --no-probe br1 netns:b 10.0.0.3/24 @10
  on_other "$OUT/pipework" --no-probe br1 netns:c 10.0.0.4/24 @20
  ip link set dev up0 master br1
  for vid in 10 20; do bridge vlan add dev up0 vid "$vid"; done
  on_other ip link set dev up0 master br1
  for vid in 10 20; do on_other bridge vlan add dev up0 vid "$vid"; done
  reaches a 10.0.0.3
  apart a 10.0.0.4
  # the same subnet, by a VLAN of the NIC itself: a container there is a neighbour of those on the bridge
  on_other "$OUT/pipework" disconnect netns:c
  ip -n other link set dev up0 nomaster
  on_other "$OUT/pipework" --no-probe up0 netns:c 10.0.0.4/24 @10
  reaches c 10.0.0.2
  on_other "$OUT/pipework" disconnect netns:c
  on_other "$OUT/pipework" --no-probe up0 netns:c 10.0.0.4/24 @20
  apart c 10.0.0.2
}

case_host_access_on_a_VLAN_of_a_NIC() {
  guest a
  nic
  lan_vlan 10 10.10.0.1/24
  refused "the host has no IPv4 address on 'up0.10'" --host-access up0 netns:a 10.10.0.5/24 @10
  ip link add link up0 name up0.10 type vlan id 10
  ip link set dev up0.10 up
  ip addr add 10.10.0.2/24 dev up0.10
  local before
  before=$(state)
  refused 'pipework routed:up0.10' --host-access --kind ipvlan up0 netns:a 10.10.0.5/24 @10
  pw --no-probe --host-access up0 netns:a 10.10.0.5/24 @10
  ping -c 1 -w 20 -q 10.10.0.5
  reaches a 10.10.0.2
  reaches a 10.10.0.1
  has "$(ip route get 10.10.0.5)" 'dev pw-up0.10 src 10.10.0.2'
  unchanged --host-access up0 netns:a 10.10.0.5/24 @10
  pw disconnect netns:a
  same "$before" "$(state)"
  # where the LAN takes one MAC address only
  ip -n lan neigh flush dev lan0.10
  pw --no-probe routed:up0.10 netns:a 10.10.0.5/32
  ping -c 1 -w 20 -q 10.10.0.5
  reaches a 10.10.0.1
}

# clean — ends what a case has left: namespaces, links but for lo and vec0, and vec0 as it was.
clean() {
  local name
  find /run/netns -mindepth 1 -maxdepth 1 -printf '%f\n' | while IFS= read -r name; do
    ip netns del "$name" 2> /dev/null || rm -f "/run/netns/$name"
  done
  for name in $(ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\1/; /^(lo|vec0)$/d'); do
    ip link del dev "$name" 2> /dev/null || true
  done
  ip addr flush dev vec0
  ip link set dev vec0 down alias ''
}

# run_case NAME — one case, in a shell of its own; its result is a line of results, its words are in NAME.log.
run_case() {
  local began=$SECONDS verdict=ok
  (
    set -eEuo pipefail
    trap 'echo "failed in line $LINENO: $BASH_COMMAND" >&2' ERR
    cd /tmp
    # Which steps a case tries hangs on its name, as in bats.
    BATS_TEST_NAME=$1
    "$1"
  ) > "$OUT/$1.log" 2>&1 < /dev/null
  # shellcheck disable=SC2181 # in an `if`, errexit would be off inside
  (($? == 0)) || verdict='not ok'
  echo "$verdict $1 ($((SECONDS - began)) s)" >> "$OUT/results"
  clean
}

while IFS= read -r name; do
  run_case "$name"
done < "$OUT/cases"
