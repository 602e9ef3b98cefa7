#!/usr/bin/env bats
# Bridges of Open vSwitch: a real one, with its userspace datapath.

load rig
load promise

setup() {
  need_docker
  need ovs-vswitchd openvswitch-switch
  start_ovs
}

teardown() {
  stop_ovs
  clean_host
}

# ovs WORD… — ovs-vsctl on the host.
ovs() {
  on_host ovs-vsctl --timeout=10 "$@"
}

# ovs_state — what the database says of bridges, ports and interfaces, without what changes by itself.
ovs_state() {
  ovs --format=json -- --columns=name,datapath_type,external_ids list Bridge \
    -- --columns=name,tag,trunks,vlan_mode,other_config,fake_bridge list Port \
    -- --columns=name,type,external_ids,error list Interface | jq -S '.data | sort_by(tojson)'
}

# keep GUEST… — remember, and the database.
keep() {
  remember "$@"
  ovs_state > "$BATS_TEST_TMPDIR/ovs.state"
}

# assert_kept — host, guests and database are as they were.
assert_kept() {
  assert_as_remembered && assert_same_state "$(< "$BATS_TEST_TMPDIR/ovs.state")" "$(ovs_state)"
}

# column TABLE ROW COLUMN[:KEY] — one value of the database.
column() {
  ovs --if-exists get "$@" | tr -d '"'
}

# attach WORD… — pipework without the question whether the address is taken, which must succeed.
attach() {
  run_pw --no-probe "$@"
  assert_exit 0
}

# assert_ports BRIDGE PORT… — these are the bridge's ports, and no others.
assert_ports() {
  local ports
  ports=$(ovs list-ports "$1" | sort | paste -sd ' ')
  [[ $ports == "$(printf '%s\n' "${@:2}" | sort | paste -sd ' ')" ]] || fail "the ports of $1: $ports"
}

# assert_tcp FROM TO ADDRESS — three megabytes from one guest to the other arrive as they were sent.
assert_tcp() {
  local sent=$BATS_TEST_TMPDIR/sent got=$BATS_TEST_TMPDIR/got server
  head -c 3000000 /dev/urandom > "$sent"
  in_guest "$2" nc -N -l -p 5000 > "$got" < /dev/null 3>&- 4>&- &
  server=$!
  wait_until 30 listens "$2" 5000
  in_guest "$1" timeout 60 nc -N "$3" 5000 < "$sent"
  wait "$server"
  cmp "$sent" "$got"
}

# listens GUEST PORT — a server is there.
listens() {
  in_guest "$1" ss -Hltn "sport = :$2" | grep -q .
}

# fail_after_each WORD… — stops after every step, and has everything as it was; then lets it succeed.
fail_after_each() {
  local n steps
  steps=$(pw --dry-run --json "$@" | jq '.steps | length')
  ((steps > 1)) || fail "it takes $steps steps" || return
  for n in $(steps_of 1 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw "$@"
    assert_exit 1 || return
    assert_err "stopped after step $n of $steps" || return
    assert_kept || fail "after step $n" || return
  done
  run_pw "$@"
  assert_exit 0
}

# hears GUEST IFNAME FILE — starts a capture in a guest, ready on return; capture's own is on the host.
hears() {
  on_host_exec nsenter --net="$(guest_net "$1")" tcpdump -i "$2" -Z root -nn -e -l --immediate-mode \
    > "$3" 2>&1 < /dev/null 3>&- 4>&- &
  echo "$!" > "$RIG_DIR/capture.pid"
  wait_until 30 grep -q '^listening on' "$3"
}

# --- what an attach makes --------------------------------------------------------------------------------

@test "a bridge is made, two containers talk over it, TCP included, and all goes again" {
  start_guest web
  start_guest db
  keep web db
  attach ovs1 web 10.1.1.2/24
  assert_out 'web has eth1 on ovs1 with 10.1.1.2/24'
  attach ovs1 db 10.1.1.3/24
  [[ $(column Bridge ovs1 external_ids:pipework) == made ]]
  assert_ports ovs1 "$(host_end web eth1)" "$(host_end db eth1)"
  ping_from web 10.1.1.3

  assert_tcp web db 10.1.1.3

  run_pw disconnect web
  assert_exit 0
  assert_ports ovs1 "$(host_end db eth1)"
  run_pw disconnect db
  assert_exit 0
  assert_out 'remove ovs1: pipework made it'
  assert_kept
}

@test "the original's external-ids stand on the interface, and the port does not outlive a restart of Open vSwitch" {
  local port
  start_guest web
  attach ovs1 web 10.1.1.2/24 @10
  port=$(host_end web eth1)
  [[ $(column Interface "$port" external_ids:pipework.interface) == "$port" ]]
  [[ $(column Interface "$port" external_ids:pipework.bridge) == ovs1 ]]
  [[ $(column Interface "$port" external_ids:pipework.containerid) == "$(docker inspect --format '{{.Id}}' web)" ]]
  [[ $(column Interface "$port" external_ids:pipework.containername) == "$(docker inspect --format '{{.Name}}' web)" ]]
  [[ $(column Interface "$port" external_ids:pipework.nspid) == "$(docker inspect --format '{{.State.Pid}}' web)" ]]
  [[ $(column Interface "$port" external_ids:pipework.vlan) == 10 ]]
  [[ $(column Port "$port" tag) == 10 ]]
  [[ $(column Port "$port" other_config:transient) == true ]]
}

@test "ls shows it, in text and JSON, and it has the record" {
  start_guest web
  attach ovs1 web 10.1.1.2/24 @10,20-22
  run_pw ls
  assert_out 'ovs1'
  run_pw ls --json
  assert_json "$output" '[.attachments[] | select(.hostif == "ovs1")] | length == 1 and .[0].words == ["@10,20-22"] and .[0].state == "up"'
}

@test "names, MAC address and MTU: -i, -l, U:text, and the bridge's MTU" {
  start_guest web
  ovs add-br ovs1 -- set Bridge ovs1 datapath_type=netdev -- set Interface ovs1 mtu_request=1400
  wait_until 20 on_host grep -qx 1400 /sys/class/net/ovs1/mtu
  attach ovs1 -i lan0 -l webhost web 10.1.1.2/24 U:myhost.foo.com
  assert_json "$(link web lan0)" '.mtu == 1400 and .address == "02:72:6c:cd:9b:8d"'
  assert_json "$(host_link webhost)" '.mtu == 1400'
  assert_ports ovs1 webhost
  # Somebody else's bridge stays.
  run_pw disconnect web
  assert_exit 0
  assert_ports ovs1
}

@test "a bridge by any name is found in the database, one without a device is given the datapath that works" {
  start_guest web
  # Without the kernel's module this says an error, makes no device, and exits with 0.
  ovs add-br lan 2> /dev/null
  on_host test ! -e /sys/class/net/lan
  keep web
  PIPEWORK_FAIL_AFTER=4 run_pw --no-probe lan web 10.1.1.2/24
  assert_exit 1
  assert_kept
  attach lan web 10.1.1.2/24
  [[ $(column Bridge lan datapath_type) == netdev ]]
  on_host test -e /sys/class/net/lan
  assert_ports lan "$(host_end web eth1)"
  run_pw disconnect web
  assert_exit 0
  ovs br-exists lan
}

@test "a bridge called br… that is Open vSwitch's is not made anew as a Linux bridge" {
  start_guest web
  ovs add-br br-lan 2> /dev/null
  attach br-lan web 10.1.1.2/24
  assert_ports br-lan "$(host_end web eth1)"
  on_host test ! -e /sys/class/net/br-lan/bridge
}

@test "the name of one VLAN of a bridge is explained" {
  start_guest web
  ovs add-br ovs1 -- set Bridge ovs1 datapath_type=netdev -- add-br ovs1v30 ovs1 30
  keep web
  run_pw ovs1v30 web 10.1.1.2/24
  assert_exit 1
  assert_err "'ovs1v30' is another name for VLAN 30 of 'ovs1'"
  assert_err 'pipework ovs1 … @30'
  assert_kept
}

@test "without TCP offload in Open vSwitch, --tx-offload off lets TCP through" {
  start_guest web
  start_guest db
  rig_stop vswitchd
  ovs --no-wait set Open_vSwitch . other_config:userspace-tso-enable=false
  start_vswitchd
  attach --tx-offload off ovs1 web 10.1.1.2/24
  attach --tx-offload off ovs1 db 10.1.1.3/24
  assert_tcp web db 10.1.1.3
}

@test "the examples of the README" {
  # shellcheck disable=SC2016 # backquotes
  local line count=0 block='/^```sh ovs$/,/^```$/'
  start_guest web
  start_guest db
  keep web db
  while IFS= read -r line; do
    # shellcheck disable=SC2086 # the line is words, as at a prompt
    run_pw $line
    assert_exit 0
    ((count += 1))
  done < <(sed -nE "$block s/^sudo pipework //p" "$BATS_TEST_DIRNAME/../README.md")
  ((count >= 5))
  assert_kept
}

# --- VLANs -----------------------------------------------------------------------------------------------

@test "VLANs keep apart what has another tag, and join what has the same" {
  start_guest web
  start_guest db
  start_guest cache
  attach ovs1 web 10.1.1.2/24 @10
  attach ovs1 db 10.1.1.3/24 @20
  attach ovs1 cache 10.1.1.4/24 @10
  ping_from web 10.1.1.4
  run ! docker exec web ping -c 2 -W 1 -q 10.1.1.3
  # In place: the other two now, and no longer the first.
  attach ovs1 cache 10.1.1.4/24 @20
  ping_from db 10.1.1.4
  run ! docker exec web ping -c 2 -W 1 -q 10.1.1.4
}

@test "a trunk gets its native VLAN without a tag and the others with theirs, and no more" {
  local port
  start_guest web
  start_guest db
  start_guest cache
  attach ovs1 web 10.1.1.2/24 @10,20-22
  attach ovs1 db 10.1.1.3/24 @20
  attach ovs1 cache 10.1.1.4/24 @30
  port=$(host_end web eth1)
  [[ $(column Port "$port" vlan_mode) == native-untagged && $(column Port "$port" tag) == 10 ]]
  [[ $(column Port "$port" trunks) == '[20, 21, 22]' ]]
  hears web eth1 "$BATS_TEST_TMPDIR/heard"
  docker exec cache ping -c 1 -W 1 -q 10.1.1.98 || true
  docker exec db ping -c 1 -W 1 -q 10.1.1.99 || true
  wait_until 20 grep -q 'vlan 20.*who-has 10.1.1.99' "$BATS_TEST_TMPDIR/heard"
  stop_capture
  run ! grep -q 'who-has 10.1.1.98' "$BATS_TEST_TMPDIR/heard"
  attach ovs1 db 10.1.1.3/24 @10
  ping_from web 10.1.1.3
}

@test "tag and trunks are changed in place, and taken away" {
  local port index
  start_guest web
  attach ovs1 web 10.1.1.2/24
  port=$(host_end web eth1)
  index=$(host_link "$port" | jq .ifindex)
  [[ $(column Port "$port" tag) == '[]' && $(column Port "$port" vlan_mode) == '[]' ]]
  attach ovs1 web 10.1.1.2/24 @10
  [[ $(column Port "$port" tag) == 10 && $(column Port "$port" vlan_mode) == '[]' ]]
  attach ovs1 web 10.1.1.2/24 @10,20
  [[ $(column Port "$port" trunks) == 20 || $(column Port "$port" trunks) == '[20]' ]]
  [[ $(column Interface "$port" external_ids:pipework.vlan) == 10,20 ]]
  attach ovs1 web 10.1.1.2/24 @30-31
  [[ $(column Port "$port" vlan_mode) == trunk && $(column Port "$port" tag) == '[]' ]]
  attach ovs1 web 10.1.1.2/24
  [[ $(column Port "$port" trunks) == '[]' && $(column Port "$port" vlan_mode) == '[]' ]]
  [[ -z $(column Interface "$port" external_ids:pipework.vlan) ]]
  [[ $(host_link "$port" | jq .ifindex) == "$index" ]]
}

# --- again, elsewhere, away ------------------------------------------------------------------------------

@test "a second run changes nothing" {
  start_guest web
  attach ovs1 web 10.1.1.2/24@10.1.1.1 @10,20-22
  keep web
  run_pw ovs1 web 10.1.1.2/24@10.1.1.1 @10,20-22
  assert_exit 0
  assert_out 'already; nothing changed'
  assert_kept
}

@test "what somebody changed by hand in the database is put right" {
  local port
  start_guest web
  attach ovs1 web 10.1.1.2/24 @10
  port=$(host_end web eth1)
  keep web
  ovs set Port "$port" tag=99 -- remove Interface "$port" external_ids pipework.interface \
    -- set Interface "$port" external_ids:mine=yes
  attach ovs1 web 10.1.1.2/24 @10
  [[ $(column Interface "$port" external_ids:mine) == yes ]]
  ovs remove Interface "$port" external_ids mine
  assert_kept
  ovs del-port "$port"
  attach ovs1 web 10.1.1.2/24 @10
  assert_kept
}

@test "another bridge needs --force: Open vSwitch to Open vSwitch keeps the link, to a Linux bridge and back does not" {
  local port
  start_guest web
  start_guest db
  attach ovs1 web 10.1.1.2/24
  port=$(host_end web eth1)
  keep web
  run_pw ovs2 web 10.1.1.2/24
  assert_exit 1
  assert_err "is on 'ovs1', not on 'ovs2'"
  run_pw br1 web 10.1.1.2/24
  assert_exit 1
  assert_err "is on 'ovs1', an Open vSwitch bridge, and not on 'br1'"
  assert_kept

  attach --force ovs2 web 10.1.1.2/24 @10
  # It was ours, and nobody uses it now.
  ! ovs br-exists ovs1 || fail 'ovs1 is left'
  assert_ports ovs2 "$port"
  attach ovs2 db 10.1.1.3/24 @10
  ping_from db 10.1.1.2
  attach --force br1 web 10.1.1.2/24
  assert_ports ovs2 "$(host_end db eth1)"
  [[ $(host_link "$(host_end web eth1)" | jq -r .master) == br1 ]]
  run_pw ovs1 web 10.1.1.2/24
  assert_exit 1
  assert_err "is on 'br1', not on 'ovs1'"
  attach --force ovs1 web 10.1.1.2/24
  assert_ports ovs1 "$port"
  run_pw disconnect web
  assert_exit 0
}

@test "a new name for the host end, with --force, goes into the database" {
  start_guest web
  attach ovs1 web 10.1.1.2/24 @10
  keep web
  fail_after_each --no-probe --force -l webhost ovs1 web 10.1.1.2/24 @10
  assert_ports ovs1 webhost
  [[ $(column Interface webhost external_ids:pipework.interface) == webhost ]]
}

@test "a container that was started again is attached anew, and no dead rows stay" {
  start_guest web
  start_guest db
  attach ovs1 web 10.1.1.2/24 @10
  attach ovs1 -i eth2 web 10.1.2.2/24
  attach ovs1 db 10.1.1.3/24 @10
  docker restart --time 0 web > /dev/null
  (($(ovs list-ports ovs1 | wc -l) == 3))
  attach ovs1 web 10.1.1.2/24 @10
  assert_ports ovs1 "$(host_end web eth1)" "$(host_end db eth1)"
  ping_from web 10.1.1.3
}

@test "disconnect of a guest that is gone removes what is left of it, and the bridge" {
  start_guest web
  start_guest db
  keep
  attach ovs1 web 10.1.1.2/24
  attach ovs1 db 10.1.1.3/24
  docker rm --force web > /dev/null
  run_pw disconnect web
  assert_exit 0
  assert_out 'web no longer has eth1 on ovs1'
  assert_ports ovs1 "$(host_end db eth1)"
  run_pw disconnect web
  assert_exit 1
  docker rm --force db > /dev/null
  run_pw disconnect db eth1
  assert_exit 0
  assert_kept
}

@test "rows of the original are known and swept; what others have in the database is left alone" {
  start_guest web
  ovs add-br ovs1 -- set Bridge ovs1 datapath_type=netdev
  # As the original leaves them when the container stops.
  ovs add-port ovs1 veth1pl4711 -- set Interface veth1pl4711 external-ids:pipework.interface=veth1pl4711 \
    external-ids:pipework.bridge=ovs1 external-ids:pipework.containername=/old 2> /dev/null
  ovs add-port ovs1 veth1pl4712 -- set Interface veth1pl4712 external-ids:pipework.interface=veth1pl4712 \
    external-ids:pipework.bridge=ovs1 external-ids:pipework.containername=/older 2> /dev/null
  ovs add-port ovs1 stranger 2> /dev/null
  run_pw disconnect old
  assert_exit 0
  assert_out 'old no longer has eth1 on ovs1'
  assert_ports ovs1 stranger
  ovs add-port ovs1 veth1pl4712 -- set Interface veth1pl4712 external-ids:pipework.interface=veth1pl4712 2> /dev/null
  attach ovs1 web 10.1.1.2/24
  assert_ports ovs1 stranger "$(host_end web eth1)"
}

@test "a port of somebody else's by the name for the host end is refused" {
  start_guest web
  ovs add-br ovs1 -- set Bridge ovs1 datapath_type=netdev -- add-port ovs1 webhost 2> /dev/null
  keep web
  run_pw -l webhost ovs1 web 10.1.1.2/24
  assert_exit 1
  assert_err "'ovs1' already has a port 'webhost'"
  assert_kept
}

@test "a bridge that we made stays while the host has an address there, or a stranger a port" {
  start_guest web
  attach ovs1 web 10.1.1.2/24
  on_host ip addr add 10.1.1.1/24 dev ovs1
  run_pw disconnect web
  assert_exit 0
  ovs br-exists ovs1
  on_host ip addr del 10.1.1.1/24 dev ovs1
  attach ovs1 web 10.1.1.2/24
  ovs add-port ovs1 other -- set Interface other type=internal
  run_pw disconnect web
  assert_exit 0
  assert_ports ovs1 other
}

# --- what goes wrong -------------------------------------------------------------------------------------

@test "a failure after any step leaves host, guest and database as they were" {
  start_guest web
  keep web
  fail_after_each --no-probe ovs1 web 10.1.1.2/24@10.1.1.1,fd00::2/64 @10
  keep web
  fail_after_each --no-probe ovs1 web 10.1.1.2/24@10.1.1.1,fd00::2/64 @20,30-31
  keep web
  fail_after_each --no-probe --force ovs2 web 10.1.1.2/24
  keep web
  fail_after_each --no-probe --force br1 web 10.1.1.2/24
  keep web
  fail_after_each --no-probe --force ovs2 web 10.1.1.2/24
  keep web
  fail_after_each disconnect web
}

@test "what a killed run leaves is healed by the next" {
  local n steps
  start_guest web
  attach ovs1 web 10.1.1.2/24 @10
  ovs_state > "$BATS_TEST_TMPDIR/whole"
  pw disconnect web > /dev/null
  steps=$(pw --dry-run --json --no-probe ovs1 web 10.1.1.2/24 @10 | jq '.steps | length')
  ((steps > 4))
  for n in $(steps_of 1 "$steps"); do
    PIPEWORK_KILL_AFTER=$n run -137 pw --no-probe ovs1 web 10.1.1.2/24 @10
    attach ovs1 web 10.1.1.2/24 @10
    assert_same_state "$(< "$BATS_TEST_TMPDIR/whole")" "$(ovs_state)"
    [[ $(addresses web) == 10.1.1.2/24 ]]
    run_pw disconnect web
    assert_exit 0
    [[ $(ovs list-br) == '' ]] || fail "killed after $n: $(ovs show)"
  done
}

@test "twelve at once on a bridge that is being made: all succeed" {
  local n pids=()
  for n in {2..13}; do netns_guest "g$n"; done
  for n in {2..13}; do
    pw --no-probe ovs1 "netns:g$n" "10.1.1.$n/24" > "$BATS_TEST_TMPDIR/$n.out" 2>&1 3>&- 4>&- &
    pids+=("$!")
  done
  for n in "${pids[@]}"; do wait "$n" || fail "$(cat "$BATS_TEST_TMPDIR"/*.out)"; done
  (($(ovs list-ports ovs1 | wc -l) == 12))
  wait_until 30 in_guest g2 ping -c 1 -W 2 -q 10.1.1.13 > /dev/null
}

@test "ovs-vswitchd stopped, killed or hanging: an error that says so, and nothing is left" {
  start_guest web
  attach ovs1 web 10.1.1.2/24
  pw disconnect web > /dev/null
  keep web
  kill -STOP "$(< "$RIG_DIR/vswitchd.pid")"
  run_pw --no-probe ovs1 web 10.1.1.2/24
  kill -CONT "$(< "$RIG_DIR/vswitchd.pid")"
  assert_exit 1
  assert_err 'ovs-vswitchd does not do what the database of Open vSwitch says'
  wait_until 20 assert_kept 2> /dev/null
  kill -KILL "$(< "$RIG_DIR/vswitchd.pid")"
  wait_until 20 gone "$(< "$RIG_DIR/vswitchd.pid")"
  run_pw --no-probe ovs1 web 10.1.1.2/24
  assert_exit 1
  assert_err 'ovs-vswitchd is not running'
  assert_kept
  start_vswitchd
  attach ovs1 web 10.1.1.2/24
  rig_stop vswitchd
  run_pw ovs1 web 10.1.1.2/24
  assert_exit 1
  assert_err 'ovs-vswitchd is not running'
  # To take away needs nobody who forwards.
  run_pw disconnect web
  assert_exit 0
  [[ -z $(ovs --no-wait list-br) ]]
}

@test "nobody waits for an Open vSwitch that hangs or does not run, but who asks for it" {
  start_guest web
  kill -STOP "$(< "$RIG_DIR/vswitchd.pid")"
  attach br1 web 10.1.1.2/24
  kill -CONT "$(< "$RIG_DIR/vswitchd.pid")"
  stop_ovs
  keep_without_ovs() { remember web; }
  keep_without_ovs
  attach br1 web 10.1.1.2/24
  assert_out 'already'
  attach br2 -i eth2 web 10.1.2.2/24
  run_pw disconnect web eth2
  assert_exit 0
  run_pw ovs1 -i eth3 web 10.1.3.2/24
  assert_exit 1
  assert_err "'ovs1' is a bridge of Open vSwitch by its name: Open vSwitch does not answer"
  assert_err 'Start it'
  assert_as_remembered
}

@test "a link on an Open vSwitch that has been stopped for good can be taken away all the same" {
  start_guest web
  remember web
  attach ovs1 web 10.1.1.2/24
  stop_ovs
  run_pw disconnect web
  assert_exit 0
  no_link web eth1
}

@test "a dry run prints a script that does the same" {
  start_guest web
  attach ovs1 web 10.1.1.2/24 @10
  ovs_state > "$BATS_TEST_TMPDIR/whole"
  pw disconnect web > /dev/null
  keep web
  pw --dry-run --no-probe ovs1 web 10.1.1.2/24 @10 > "$BATS_TEST_TMPDIR/attach.sh"
  assert_kept
  on_host sh "$BATS_TEST_TMPDIR/attach.sh"
  assert_same_state "$(< "$BATS_TEST_TMPDIR/whole")" "$(ovs_state)"
  pw --dry-run disconnect web > "$BATS_TEST_TMPDIR/detach.sh"
  on_host sh "$BATS_TEST_TMPDIR/detach.sh"
  assert_kept
}

@test "every golden plan runs as it is" {
  local file count=0
  for file in "$BATS_TEST_DIRNAME"/../src/plan/golden/*ovs*.sh; do
    # What the kernel's datapath needs: nothing that could run here.
    ! grep -q '^# given: #' "$file" || continue
    netns_guest blue
    sed -n 's/^# given: //p' "$file" > "$BATS_TEST_TMPDIR/given"
    # Rows without a device, and bridges without one: an error that exits with 0.
    on_host env -C "$BATS_TEST_DIRNAME/.." sh -eu "$BATS_TEST_TMPDIR/given" > /dev/null 2>&1
    on_host sh "$file" > /dev/null 2> "$BATS_TEST_TMPDIR/err" || fail "$file" "$(< "$BATS_TEST_TMPDIR/err")" || return
    [[ $file == */disconnect* ]] || assert_json "$(in_guest blue ip -j link)" 'length == 2'
    [[ -z $(ovs --format=json --columns=error list Interface | jq -r '.data[][] | strings') ]]
    ovs list-br | xargs -rn 1 nsenter --net="$HOST_NS" ovs-vsctl --timeout=10 --if-exists del-br
    clean_host
    ((count += 1))
  done
  ((count > 7))
}
