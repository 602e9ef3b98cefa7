#!/usr/bin/env bats
# pipework doctor: each finding produced for real, found, mended by the very command that is printed, and gone.
# shellcheck disable=SC2016 # expanded on the host

load rig
load promise

setup() {
  need_host
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  ln -s "$PIPEWORK" "$BATS_TEST_TMPDIR/bin/pipework"
  export PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

teardown() {
  stop_ovs
  on_host sh -c 'nft flush ruleset; sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
    for tables in iptables-legacy ip6tables-legacy; do $tables -P FORWARD ACCEPT; $tables -F; $tables -X; done
    rm -rf /run/systemd /run/NetworkManager'
  clean_host
}

# doctor ARG… — runs it, with one JSON document in output.
doctor() { run_pw doctor --json "$@"; }

# has ID, hasnt ID — whether the last run of the doctor has found that.
has() { jq -e --arg id "$1" 'any(.findings[]; .id == $id)' <<< "$output" > /dev/null || fail "no $1 in: $output"; }
hasnt() { jq -e --arg id "$1" 'all(.findings[]; .id != $id)' <<< "$output" > /dev/null; }

# command_of ID — the command that the last run printed for that finding.
command_of() { jq -r --arg id "$1" 'first(.findings[] | select(.id == $id)).command' <<< "$output"; }

# text_of ID — everything that it said about it, in one line.
text_of() { jq -r --arg id "$1" 'first(.findings[] | select(.id == $id)) | "\(.line) \(.evidence) \(.advice) \(.command)"' <<< "$output"; }

# cures ID [TEXT] — the doctor finds it and exits 1; its command mends it, and it is found no more.
cures() {
  local command
  doctor
  assert_exit 1
  has "$1" || return
  [[ $(text_of "$1") == *"${2-}"* ]] || fail "not '$2': $(text_of "$1")" || return
  command=$(command_of "$1")
  echo "$1: $command"
  on_host sh -ec "$command" > /dev/null
  wait_until 20 cured "$1" || fail "$1 is still there after: $command" "$output"
}
cured() { doctor && hasnt "$1"; }

# couple — two guests on one bridge that reach each other.
couple() {
  netns_guest web
  netns_guest db
  pw -q --no-probe --firewall off br1 netns:web 10.7.0.1/24
  pw -q --no-probe --firewall off br1 netns:db 10.7.0.2/24
  WEB=$(host_end web eth1) DB=$(host_end db eth1)
}

@test "a healthy host: exit 0, and the guests answer each other; one bridge, one guest, nothing of the kind" {
  need_docker
  doctor
  assert_exit 0
  start_guest web
  netns_guest db
  netns_guest gw
  pw -q br1 netns:gw 10.7.0.254/24
  pw -q br1 web 10.7.0.1/24@10.7.0.254
  pw -q br2 netns:db 10.8.0.2/24
  run_pw doctor
  assert_exit 0
  assert_out 'web eth1 → gateway 10.7.0.254: answers'
  assert_out 'nothing found that stops traffic'
  doctor br1
  assert_json "$output" '.ok and ([.probes[].from] | unique) == ["netns:gw", "web"] and all(.probes[]; .ok)'
  doctor web
  assert_json "$output" '[.probes[] | .from] | unique == ["web"]'
  doctor netns:db
  assert_json "$output" '.ok and .probes == []'
  run_pw doctor webb
  assert_exit 2
  assert_err "'webb' is neither a bridge of this host nor a guest that pipework attached"
  run_pw doctor br1 web
  assert_exit 2
}

@test "links: a bridge, a port, an end in the guest that is down; a port without a bridge; spanning tree; MTU" {
  couple
  on_host ip link set dev br1 down
  cures bridge-down
  on_host ip link set dev "$WEB" down
  cures port-down "$WEB"
  in_guest db ip link set dev eth1 down
  cures port-down "inside the guest"
  on_host ip link set dev "$DB" nomaster
  cures port-away
  in_guest web ip link set dev eth1 mtu 9000
  on_host ip link set dev "$WEB" mtu 9000
  cures mtu-shrinks '9000'
  on_host ip link set dev br1 type bridge stp_state 1 forward_delay 3000
  on_host ip link set dev "$WEB" down
  on_host ip link set dev "$WEB" up
  wait_until 20 on_host sh -c "bridge link show dev $WEB | grep -qE 'listening|learning'"
  cures stp-learning "$WEB"
  wait_until 20 in_guest web ping -c 1 -W 1 -q 10.7.0.2 > /dev/null
  doctor br1
  assert_exit 0
  # a NIC that was put into the bridge as it was
  on_host ip link set dev eth0 master br1
  cures address-on-port '192.168.77.10/24 on eth0'
  [[ $(host_link br1 | jq -c '[.addr_info[] | select(.family == "inet").local]') == '["192.168.77.10"]' ]]
  [[ $(on_host ip route show default) == 'default via 192.168.77.1 dev br1'* ]]
  pw -q uplink del br1
}

@test "addresses: the same MAC address, the same IPv4 and IPv6 address, and a guest that refuses its way back" {
  couple
  in_guest web ip address del 10.7.0.1/24 dev eth1
  cures address-lost 'missing: 10.7.0.1/24'
  pw -q --no-probe br1 netns:web 10.7.0.1/24@10.7.0.2
  in_guest web ip route del default
  cures address-lost 'missing: the default route via 10.7.0.2'
  pw -q --no-probe br1 netns:web 10.7.0.1/24
  in_guest db ip link set dev eth1 address "$(link web eth1 | jq -r .address)"
  cures mac-duplicate
  in_guest db ip address add 10.7.0.1/24 dev eth1
  cures address-duplicate 10.7.0.1
  in_guest db ip address add 10.7.0.1/24 dev eth1
  doctor
  assert_json "$output" '[.findings[] | select(.id == "address-duplicate")] | length == 1'
  in_guest db ip address del 10.7.0.1/24 dev eth1
  in_guest web sysctl -qw net.ipv6.conf.eth1.disable_ipv6=0
  in_guest db sysctl -qw net.ipv6.conf.eth1.disable_ipv6=0
  in_guest web ip address add fd07::1/64 dev eth1 nodad
  in_guest db ip address add fd07::1/64 dev eth1
  wait_until 30 in_guest db sh -c 'ip address show dev eth1 | grep -q dadfailed'
  cures address-duplicate fd07::1
  # the guest itself answers by each of its interfaces on one LAN: nobody else has its address
  need arping iputils-arping
  pw -q --no-probe br1 -i eth2 netns:web 10.7.0.3/24
  doctor netns:web
  hasnt address-duplicate || fail "$output"
  pw -q disconnect netns:web eth2
  # a machine that nobody told: it answers on the LAN
  pw -q --no-probe eth0 -i eth5 netns:web 192.168.77.60/24
  on_lan ip address add 192.168.77.60/24 dev lan0
  cures address-duplicate '02:77:00:00:00:01 answers for 192.168.77.60'
  on_lan ip address del 192.168.77.60/24 dev lan0
  pw -q disconnect netns:web eth5
  # a second way out, with replies that leave by the first
  on_host ip link add upweb type veth peer name eth0 netns web
  in_guest web ip -batch - <<< $'addr add 172.17.0.2/16 dev eth0\nlink set dev eth0 up'
  on_host ip link set dev upweb up
  in_guest web ip route add default via 172.17.0.1
  in_guest web sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=1
  pw -q --no-probe --metric 200 br1 netns:web 10.7.0.1/24@10.7.0.2
  cures rp-filter 'way back is eth0'
}

@test "the firewall: a policy, a rule that may match, a table for bridges; br_netfilter; a rule that serves nobody" {
  need nft nftables
  couple
  on_host iptables -P FORWARD DROP
  cures firewall-drop "between the ports of 'br1'"
  on_host sh -c 'iptables -F; iptables -A FORWARD -m mark --mark 7 -j ACCEPT'
  cures firewall-maybe
  on_host iptables -P FORWARD ACCEPT
  on_host nft -f - <<< "table bridge b { chain f { type filter hook forward priority 0; policy accept; iifname \"$WEB\" drop ; }; }"
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
  doctor
  has firewall-drop
  has neighbour-silent
  # Its command needs a kernel that knows a frame's bridge in a table for bridges (nft_meta_bridge); this one does not.
  [[ $(command_of firewall-drop) == "nft insert rule bridge b f 'meta ibrname \"br1\" accept'" ]]
  on_host nft flush ruleset
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
  # a note, which is no reason to exit 1
  doctor br1
  assert_exit 0
  has br-netfilter
  on_host sh -c "$(command_of br-netfilter)" > /dev/null
  doctor
  hasnt br-netfilter
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=1
  # dead with its last container, whose end nobody was told
  on_host iptables -P FORWARD DROP
  pw -q --no-probe --firewall allow br1 netns:web 10.7.0.1/24
  on_host ip link del dev "$WEB"
  on_host ip link del dev "$DB"
  cures rule-stray 'pipework br1'
  [[ $(on_host iptables -S) != *pipework* ]]
}

@test "leftovers: a name that leads nowhere, a link whose guest is gone, a NIC that fell out of its guest" {
  on_host ln -s /proc/99999999/ns/net /run/netns/gone
  doctor
  has pin-dangling
  on_host sh -c "$(command_of pin-dangling)" > /dev/null
  doctor
  hasnt pin-dangling
  netns_guest web
  pw -q --no-probe br1 netns:web 10.7.0.1/24
  # somebody holds its network, so that the link lives on
  on_host_exec nsenter --net=/run/netns/web sleep 1000 < /dev/null > /dev/null 2>&1 3>&- 4>&- &
  local holder=$!
  wait_until 20 on_host sh -c "[ \$(stat -Lc %i /proc/$holder/ns/net) = \$(stat -Lc %i /run/netns/web) ]"
  on_host ip netns del web
  cures link-orphan 'netns:web'
  kill "$holder"
  on_host ip link add nic1 type veth peer name lan1 netns "$LAN_NS"
  netns_guest db
  pw -q --direct-phys --no-probe nic1 -i lan0 netns:db 10.7.0.5/24
  in_guest db ip link set dev lan0 netns "$$"
  nsenter --net=/proc/$$/ns/net ip link set dev lan0 netns "$HOST_NS"
  on_host ip netns del db
  cures nic-stray "'nic1' fell back"
  on_host ip link show dev nic1
}

@test "what the host had for a guest and has lost; a guest that hides; a record that somebody else has written" {
  need_docker
  netns_guest web
  pw -q --no-probe br1 --bridge-address 10.7.0.254/24 --nat netns:web 10.7.0.1/24@10.7.0.254
  doctor
  assert_exit 0
  on_host nft delete table inet pipework
  on_host ip address del 10.7.0.254/24 dev br1
  cures rule-lost 'masquerade4'
  on_host nft list table inet pipework | grep -q masquerade
  start_guest db
  pw -q --no-probe br2 db 10.8.0.1/24
  DOCKER_HOST=unix:///run/nobody.sock doctor
  assert_exit 1
  # Docker itself is not stopped for this: what is told is tested
  has guest-hidden
  [[ $(text_of guest-hidden) == *"'db' cannot be looked into: Docker is not running"*'systemctl start docker'* ]]
  # the record of a macvlan stands in the guest: nothing that it says becomes a command
  pw -q --no-probe eth0 -i eth2 netns:web 192.168.77.51/24
  in_guest web ip link set dev eth2 alias 'pipework1;g=docker:db;i=eth2%0alink add evil type bridge;h=eth0;a=;'
  in_guest web ip link set dev eth2 name 'a;reboot'
  doctor
  [[ $output != *evil* && $output != *reboot* ]]
  run ! on_host ip link show dev evil
  mkdir "$BATS_TEST_TMPDIR/failing"
  printf '#!/bin/sh\n[ "$1" != -n ] || exit 1\nexec %s "$@"\n' "$(command -v ip)" > "$BATS_TEST_TMPDIR/failing/ip"
  chmod +x "$BATS_TEST_TMPDIR/failing/ip"
  PATH="$BATS_TEST_TMPDIR/failing:$PATH" doctor
  assert_exit 1
  has namespace-hidden
  [[ $(text_of namespace-hidden) == *'could not look into'*'network namespace'* ]]
}

# with_sys FILE=TEXT… -- CMD… — runs CMD on the host with a /sys that has DMI, and eth0 wireless where FILE says so.
with_sys() {
  local vendor=$1 product=$2 wireless=$3
  shift 3
  on_host unshare --mount sh -ec '
    vendor=$1 product=$2 wireless=$3
    shift 3
    mkdir -p "$RIG_DIR/sys" "$RIG_DIR/realsys"
    mount --rbind /sys "$RIG_DIR/realsys"
    mount -t tmpfs sys "$RIG_DIR/sys"
    mkdir -p "$RIG_DIR"/sys/class/net "$RIG_DIR"/sys/class/dmi/id
    for entry in devices fs kernel module; do mkdir "$RIG_DIR/sys/$entry"; mount --rbind "/sys/$entry" "$RIG_DIR/sys/$entry"; done
    cp -a /sys/class/net/. "$RIG_DIR/sys/class/net/"
    echo "$vendor" > "$RIG_DIR/sys/class/dmi/id/sys_vendor"
    echo "$product" > "$RIG_DIR/sys/class/dmi/id/product_name"
    if [ "$wireless" = yes ]; then
      rm "$RIG_DIR/sys/class/net/eth0"
      mkdir -p "$RIG_DIR/sys/class/net/eth0/phy80211"
    fi
    mount --rbind "$RIG_DIR/sys" /sys
    exec "$@"' sh "$vendor" "$product" "$wireless" "$@"
}

@test "what is below: each hypervisor with its own switch to set, and an access point" {
  netns_guest web
  pw -q --no-probe eth0 netns:web 192.168.77.50/24
  doctor
  hasnt hypervisor-mac
  # The settings are the hypervisor's and cannot be made here: what is told is tested.
  local vendor product says
  while IFS='|' read -r vendor product says; do
    run --separate-stderr with_sys "$vendor" "$product" no "$PIPEWORK" doctor --json
    assert_exit 1
    has hypervisor-mac
    [[ $(text_of hypervisor-mac) == *"$says"* ]] || fail "$vendor: $(text_of hypervisor-mac)"
  done << 'END'
VMware, Inc.|VMware Virtual Platform|forged transmits
innotek GmbH|VirtualBox|--nic-promisc1 allow-all
Microsoft Corporation|Virtual Machine|-MacAddressSpoofing On
QEMU|Standard PC (Q35 + ICH9, 2009)|no-mac-spoofing
Amazon EC2|t3.micro|A cloud's network
END
  run --separate-stderr with_sys 'Dell Inc.' 'PowerEdge' no "$PIPEWORK" doctor --json
  hasnt hypervisor-mac
  run --separate-stderr with_sys 'LENOVO' 'ThinkPad' yes "$PIPEWORK" doctor --json
  assert_exit 1
  has wifi-uplink
  # There is no ipvlan in this kernel to run it with: the words must at least be a request.
  [[ $(command_of wifi-uplink) == 'pipework disconnect netns:web eth1 && pipework --kind ipvlan eth0 netns:web 192.168.77.50/24' ]]
  pw -q disconnect netns:web
  pw --dry-run --kind ipvlan eth0 netns:web 192.168.77.50/24 | grep -q 'type ipvlan'
}

@test "who else has a hand in it: managers of links, Docker elsewhere or rootless, Open vSwitch that stands still" {
  couple
  local index node
  index=$(host_link br1 | jq .ifindex)
  # as systemd-networkd and NetworkManager write them
  on_host sh -c "mkdir -p /run/systemd/netif/links /run/NetworkManager/devices
    printf 'ADMIN_STATE=configured\nOPER_STATE=routable\nNETWORK_FILE=/etc/systemd/network/all.network\n' > /run/systemd/netif/links/$index"
  doctor br1
  assert_exit 1
  # neither runs here (managers.bats has them); the file that it would read says what it shall
  [[ $(command_of manager-holds) == *'/etc/systemd/network/0-pipework-br1.network && systemctl restart systemd-networkd' ]]
  local words
  words=$(command_of manager-holds)
  [[ $(on_host sh -c "${words%% > /etc*}") == $'[Match]\nName=br1\n\n[Link]\nUnmanaged=yes' ]]
  on_host sh -c "printf 'ADMIN_STATE=unmanaged\n' > /run/systemd/netif/links/$index
    printf '[device]\nmanaged=true\nnm-owned=false\n' > /run/NetworkManager/devices/$index"
  doctor br1
  [[ $(command_of manager-holds) == *'/etc/NetworkManager/conf.d/90-pipework-br1.conf && systemctl restart NetworkManager' ]]
  on_host sh -c "printf '[device]\nmanaged=false\n' > /run/NetworkManager/devices/$index"
  doctor br1
  hasnt manager-holds

  DOCKER_HOST=ssh://root@elsewhere doctor
  assert_exit 1
  has docker-remote
  export DOCKER_HOST=ssh://root@elsewhere
  eval "$(command_of docker-remote)"
  doctor
  hasnt docker-remote
  # No rootless Docker without user namespaces: something that says what one says.
  on_host_exec node -e 'require("node:http").createServer((_, answer) =>
    answer.end(JSON.stringify({ SecurityOptions: ["name=seccomp,profile=default", "name=rootless"] }))).listen(process.argv[1])' \
    "$BATS_TEST_TMPDIR/rootless.sock" < /dev/null > /dev/null 2>&1 3>&- 4>&- &
  node=$!
  wait_until 20 test -S "$BATS_TEST_TMPDIR/rootless.sock"
  DOCKER_HOST=unix://$BATS_TEST_TMPDIR/rootless.sock doctor
  kill "$node"
  has docker-rootless

  need ovs-vsctl openvswitch-switch
  start_ovs
  pw -q --no-probe ovs1 -i eth2 netns:web 10.9.0.1/24
  doctor
  hasnt ovs-down
  rig_stop vswitchd
  doctor
  assert_exit 1
  # systemctl does not run here: the daemon is started as the rig does
  [[ $(command_of ovs-down) == 'systemctl start openvswitch-switch' ]]
  start_vswitchd
  wait_until 20 cured ovs-down
}

@test "what is missing: kinds of links in the kernel, programs on the PATH" {
  doctor
  assert_exit 0
  # This kernel cannot load modules: each kind is told as the kernel tells it.
  local kind name
  for kind in vlan dummy ipvlan macvlan veth bridge; do
    if on_host unshare --net ip link add pw0 type "$kind" 2>&1 | grep -q 'Unknown device type'; then
      [[ $(text_of kernel-missing) == *"$kind"* ]] || fail "not told: $kind"
    else
      [[ $(jq -r '.findings[] | select(.id == "kernel-missing").line' <<< "$output") != *" $kind,"* ]] || fail "told wrongly: $kind"
    fi
  done
  # a PATH without arping, mended by what the package brings
  mkdir "$BATS_TEST_TMPDIR/few"
  for name in ip nsenter sysctl ping nft ethtool node unshare env; do ln -s "$(command -v "$name")" "$BATS_TEST_TMPDIR/few/"; done
  run --separate-stderr on_host env PATH="$BATS_TEST_TMPDIR/few" "$PIPEWORK" doctor --json
  assert_exit 0
  [[ $(command_of tool-missing) == 'apt install iputils-arping' ]]
  ln -s "$(command -v arping)" "$BATS_TEST_TMPDIR/few/"
  run --separate-stderr on_host env PATH="$BATS_TEST_TMPDIR/few" "$PIPEWORK" doctor --json
  hasnt tool-missing
}

@test "the probe: a gateway and a neighbour that do not answer, and that do again" {
  couple
  netns_guest gw
  pw -q --no-probe br1 netns:gw 10.7.0.254/24
  pw -q --no-probe br1 netns:web 10.7.0.1/24@10.7.0.254
  in_guest gw ip link set dev eth1 down
  in_guest db nft add table inet t
  in_guest db nft add chain inet t i '{ type filter hook input priority 0; policy drop; }'
  doctor web 2> /dev/null || true
  doctor netns:web
  assert_exit 1
  has gateway-silent
  has neighbour-silent
  # what looks further is a command, too
  run ! on_host sh -c "$(command_of gateway-silent)"
  in_guest db nft flush ruleset
  doctor
  on_host sh -c "$(command_of port-down)"
  wait_until 20 cured gateway-silent
  doctor
  assert_exit 0
}
