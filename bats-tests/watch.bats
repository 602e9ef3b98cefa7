#!/usr/bin/env bats
# pipework watch: attachments of files that are kept, whatever happens to containers, daemons and watches.

load rig
load promise
load dhcp
load outside
load watching

setup() { need_docker; }

teardown() {
  [[ -z ${PW_PID-} ]] || end_watch
  stop_own_docker
  stop_ovs
  [[ ! -e $RIG_DIR/podman-service.pid ]] || rig_stop podman-service
  clean_outside
  dhcp_teardown
}

# start_own_docker [ARG…] — a dockerd of this test alone, which may be killed; DOCKER_HOST leads to it.
start_own_docker() {
  local dir=$RIG_DIR/own
  mkdir -p "$dir"
  export DOCKER_HOST=unix://$dir/docker.sock
  rig_daemon own-dockerd dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
    --host "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${RIG_DIR##*/}" \
    --bridge=own0 --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false "$@"
  wait_until 60 docker version > /dev/null 2>&1 || fail "$(tail -n 5 "$RIG_DIR/own-dockerd.log")" || return
  docker image inspect busybox > /dev/null 2>&1 ||
    rig_busybox | docker import --change "CMD $RIG_CMD" - busybox:latest > /dev/null
}

# stop_own_docker — with all that it has.
stop_own_docker() {
  [[ -e $RIG_DIR/own ]] || return 0
  [[ -e $RIG_DIR/own-dockerd.pid ]] || start_own_docker
  docker ps --all --quiet | xargs --no-run-if-empty docker rm --force > /dev/null
  rig_stop own-dockerd
  rm -rf "$RIG_DIR/own"
  export DOCKER_HOST=unix://$RIG_DIR/docker.sock
}

@test "restart, stop and start, kill, restart policy, recreation: the same address, MAC and host end each time" {
  local before
  write_lan '# one a line' 'br1 web 192.168.1.50/24@192.168.1.1' '' 'br1 -i eth2 --no-probe db 10.0.0.2/24 # and two'
  start_guest web
  start_watch "$LAN"
  wait_until 60 has web eth1 192.168.1.50/24
  # what was not there yet is not waited for, and comes when it comes
  start_guest db --restart always
  wait_until 60 has db eth2 10.0.0.2/24
  start_guest other
  before=$(identity web)
  docker restart --time 0 web > /dev/null
  wait_until 60 has web eth1 192.168.1.50/24
  is "$(identity web)" "$before"
  docker stop web > /dev/null
  docker start web > /dev/null
  wait_until 60 has web eth1 192.168.1.50/24
  is "$(identity web)" "$before"
  docker kill web > /dev/null
  docker start web > /dev/null
  wait_until 60 has web eth1 192.168.1.50/24
  is "$(identity web)" "$before"
  # its restart policy; who kills the first process may die with it
  docker exec db kill -TERM 1 || true
  wait_until 60 said 'db: eth2 on br1, 10.0.0.2/24 (' 2
  wait_until 60 has db eth2 10.0.0.2/24
  # as `docker compose up` does when something has changed
  docker rm --force web > /dev/null
  start_guest web --env ANOTHER=1
  wait_until 60 has web eth1 192.168.1.50/24
  is "$(identity web)" "$before"
  ping_from web 192.168.1.50
  # nobody else was touched
  assert_json "$(in_guest other ip -j link)" 'map(.ifname) == ["lo"]'
  end_watch
  assert_exit 0
  [ -z "$stderr" ]
  # what it attached stays
  has web eth1 192.168.1.50/24
  on_host test ! -e /run/pipework/watch.lock
}

@test "rename: what is written for the new name; in the file again after SIGHUP; a file with mistakes keeps the old one" {
  write_lan 'br1 web 192.168.1.50/24' 'br1 -i eth2 new 192.168.1.51/24' 'br1 waits 192.168.1.60/24'
  # What an attach by hand warns of is said here, too; once.
  on_host sh -c 'nft add table ip f; nft add chain ip f forward "{ type filter hook forward priority 0; policy drop; }"'
  start_guest web
  netns_guest rival
  pw --quiet br1 netns:rival 192.168.1.60/24
  start_guest waits
  start_watch "$LAN"
  wait_until 60 said "waits: the address '192.168.1.60' is taken"
  # with what to do about it, in the same line
  said "on 'br1'; Choose another"
  # whose next try is for nobody any more
  docker rename waits other
  pw --quiet disconnect netns:rival
  wait_until 60 has web eth1 192.168.1.50/24
  docker rename web new
  wait_until 60 has new eth2 192.168.1.51/24
  # who has the old name now takes nothing away from who had it
  start_guest web
  wait_until 60 said "web: 'eth1' of 'new' was attached when that container was called 'web'"
  has new eth1 192.168.1.50/24
  pw --quiet disconnect web eth1
  wait_until 90 has web eth1 192.168.1.50/24
  # a mistake: file, line and column, and nothing is forgotten
  write_lan 'br1 new 192.168.1.50' 'br1 ls'
  kill -HUP "$PW_PID"
  wait_until 60 said 'keeps to what it has read before'
  said "$LAN:1:9: "
  docker restart --time 0 new > /dev/null
  wait_until 60 has new eth2 192.168.1.51/24
  write_lan 'br1 -i eth3 new 192.168.1.52/24'
  kill -HUP "$PW_PID"
  wait_until 60 has new eth3 192.168.1.52/24
  is "$(grep -c "drops IPv4 between the ports of 'br1'" "$BATS_TEST_TMPDIR/pw.out")" 1
  no_link other eth1
  # a mistake at the start is an error of usage, with nothing done
  write_lan 'br1 new 192.168.1.50'
  end_watch
  assert_exit 0
  run_pw watch "$LAN"
  assert_exit 2
  assert_err "$LAN:1:9"
  run_pw watch
  assert_exit 2
  assert_err 'there is nothing to watch'
}

# no_follower — nobody follows Podman's events on the rig's host.
no_follower() {
  local pid
  for pid in $(pgrep -f 'podman events'); do
    [[ ! /proc/$pid/ns/net -ef $HOST_NS ]] || return
  done
}

@test "a second watch refuses; one that was killed is followed by another, which makes up for what was missed" {
  local pid
  write_lan 'br1 web 192.168.1.50/24' 'br1 db 192.168.1.51/24'
  start_guest web
  start_watch "$LAN"
  wait_until 60 has web eth1 192.168.1.50/24
  run_pw watch "$LAN"
  assert_exit 1
  assert_err "another watch runs already, as process $PW_PID"
  pid=$PW_PID
  kill -KILL "$PW_PID"
  wait_pw
  # nothing of it lives on
  wait_until 30 no_follower
  docker restart --time 0 web > /dev/null
  start_guest db
  start_watch "$LAN"
  [ "$PW_PID" != "$pid" ]
  wait_until 60 has web eth1 192.168.1.50/24
  wait_until 60 has db eth1 192.168.1.51/24
  end_watch
  assert_exit 0
  assert_json "$(host_state)" '.links | length == 5'
  [ -z "$(on_host find /run/netns -name 'pipework-*')" ]
}

@test "a daemon that stops, starts, and is killed with its containers alive; and the machine's reboot" {
  local before pids
  bridge own0
  on_host ip address add 10.9.9.1/24 dev own0
  start_own_docker
  write_lan 'br1 web 192.168.1.50/24' 'br1 db 192.168.1.51/24'
  start_guest web --restart always
  start_guest db --restart always --network bridge
  # which gives db a second name, and that is listed first
  start_guest app --network bridge --link db:alias
  start_watch "$LAN"
  wait_until 60 has web eth1 192.168.1.50/24
  wait_until 60 has db eth1 192.168.1.51/24
  before=$(identity web)
  rig_stop own-dockerd
  wait_until 60 said 'Docker: does not answer'
  start_own_docker --live-restore
  wait_until 90 has web eth1 192.168.1.50/24
  wait_until 90 has db eth1 192.168.1.51/24
  is "$(identity web)" "$before"
  # killed: one of its containers lives on, the other ends meanwhile
  pids=$(docker inspect --format '{{.State.Pid}}' web db)
  kill -KILL "$(< "$RIG_DIR/own-dockerd.pid")"
  wait_until 60 gone "$(< "$RIG_DIR/own-dockerd.pid")"
  on_host nsenter --net="/proc/${pids%%$'\n'*}/ns/net" ip address show dev eth1 | grep -qF 192.168.1.50/24
  kill -KILL "${pids#*$'\n'}"
  # its containerd goes with it here, where it is a process of dockerd's, and not one of systemd's
  kill -KILL "$(< "$RIG_DIR/own/exec/containerd/containerd.pid")" 2> /dev/null || true
  rm -f "$RIG_DIR/own/docker.pid" "$RIG_DIR"/own/exec/containerd/containerd.{pid,sock*}
  start_own_docker --live-restore
  wait_until 90 said 'Docker: follows its events' 3
  wait_until 90 has db eth1 192.168.1.51/24
  has web eth1 192.168.1.50/24
  said 'web: eth1 on br1, 192.168.1.50/24 already'
  # a reboot: nothing is left but the disk
  end_watch
  pids=$(docker inspect --format '{{.State.Pid}}' web db)
  rig_stop own-dockerd
  # shellcheck disable=SC2086 # two words
  kill -KILL $pids
  on_host sh -c 'ip link del br1; rm -rf /run/pipework /run/netns/*'
  start_pw watch "$LAN"
  wait_until 60 said 'watches over 2 attachments'
  start_own_docker
  wait_until 90 has web eth1 192.168.1.50/24
  wait_until 90 has db eth1 192.168.1.51/24
  is "$(identity web)" "$before"
}

@test "Podman alongside: by prefix, by a bare name that Docker does not have, and by its events without a service" {
  need_podman
  write_lan 'br1 web 192.168.1.50/24' 'br1 --no-probe podman:web 192.168.1.51/24' 'br1 pod 192.168.1.52/24'
  start_guest web
  start_watch "$LAN"
  wait_until 60 said 'Podman: follows its events'
  start_podman_guest web
  start_podman_guest pod
  wait_until 60 has podman:web eth1 192.168.1.51/24
  wait_until 60 has podman:pod eth1 192.168.1.52/24
  wait_until 60 has web eth1 192.168.1.50/24
  on_host podman restart --time 0 pod > /dev/null
  wait_until 60 said 'podman:pod: eth1 on br1, 192.168.1.52/24 (' 2
  wait_until 60 has podman:pod eth1 192.168.1.52/24
  # the same over its socket
  end_watch
  on_host mkdir -p /run/podman
  rig_daemon podman-service podman system service --time 0 unix:///run/podman/podman.sock
  wait_until 60 on_host test -S /run/podman/podman.sock
  on_host podman restart --time 0 pod > /dev/null
  start_watch "$LAN"
  wait_until 60 has podman:pod eth1 192.168.1.52/24
  on_host podman restart --time 0 web > /dev/null
  wait_until 60 has podman:web eth1 192.168.1.51/24
  end_watch
  assert_exit 0
  rig_stop podman-service
  on_host rm -rf /run/podman
}

@test "what a dead container leaves: its NIC comes back as it was, and is there for the next start; namespaces, too" {
  local before
  on_host ip link add eth1 type veth peer name lan1 netns "$LAN_NS"
  on_lan ip link set dev lan1 up
  on_host ip -batch - <<< $'link set dev eth1 up mtu 1400\naddr add 192.168.78.10/24 dev eth1\nroute add 192.168.79.0/24 via 192.168.78.1'
  before=$(host_state)
  write_lan '--direct-phys eth1 -i lan5 web 192.168.78.50/24' 'br1 netns:blue 192.168.1.60/24'
  start_guest web
  start_watch "$LAN"
  wait_until 60 has web lan5 192.168.78.50/24
  # What the kernel does with a real NIC when its namespace ends, and with a veth does not: down, with the name that it
  # had in there. (uml.bats has a real one.)
  in_guest web ip link set dev lan5 down
  in_guest web ip link set dev lan5 netns "$(< "$RIG_DIR/dockerd.pid")"
  on_host ip link show dev lan5 > /dev/null
  docker stop web > /dev/null
  wait_until 60 said 'web: eth1 is back in the host, as it was'
  assert_same_state "$before" "$(host_state)"
  on_host test ! -e /run/pipework/nics/eth1
  docker start web > /dev/null
  wait_until 60 has web lan5 192.168.78.50/24
  # namespaces of `ip netns` have no events, and are looked for
  netns_guest blue
  wait_until 60 has blue eth1 192.168.1.60/24
  on_host ip netns del blue
  netns_guest blue
  wait_until 60 has blue eth1 192.168.1.60/24
  end_watch
  assert_exit 0
}

# has_ports COUNT — ovs1 has so many ports.
has_ports() { [[ $(on_host ovs-vsctl list-ports ovs1 | wc -l) == "$1" ]]; }

@test "Open vSwitch: the row of a container that ended goes, those of others and the bridge stay" {
  need ovs-vsctl openvswitch-switch
  start_ovs
  write_lan 'ovs1 --no-probe web 192.168.1.50/24' 'ovs1 --no-probe db 192.168.1.51/24'
  start_guest web
  start_guest db
  start_watch "$LAN"
  wait_until 60 has web eth1 192.168.1.50/24
  wait_until 60 has db eth1 192.168.1.51/24
  is "$(on_host ovs-vsctl list-ports ovs1 | wc -l)" 2
  docker restart --time 0 web > /dev/null
  wait_until 60 said 'web: eth1 on ovs1, 192.168.1.50/24 (' 2
  wait_until 60 has web eth1 192.168.1.50/24
  docker stop web > /dev/null
  # The restart may have been seen as an end and a start, so the log may say it twice.
  wait_until 60 said 'is no longer a port of ovs1'
  wait_until 60 has_ports 1
  has db eth1 192.168.1.51/24
  end_watch
  assert_exit 0
  stop_ovs
}

@test "guests that are stuck hold up nobody, however many; one in a restart loop is damped; the log as JSON" {
  local bin=$BATS_TEST_TMPDIR/bin before number lines=()
  # The question for these addresses goes on until it is killed after 30 seconds, whatever asks it to end.
  mkdir "$bin"
  cat > "$bin/arping" << 'END'
#!/bin/sh
case "$*" in *192.168.1.9?*) trap '' INT; until [ -e "${0%/*}/enough" ]; do sleep 0.1; done; exit 0 ;; esac
exec /usr/bin/arping "$@"
END
  chmod +x "$bin/arping"
  on_host ip link add dev br1 type bridge
  on_host ip link set dev br1 up
  # more than are worked on at once
  for number in {0..8}; do
    netns_guest "stuck$number"
    lines+=("br1 netns:stuck$number 192.168.1.9$number/24")
  done
  write_lan "${lines[@]}" 'br1 stuck 192.168.1.99/24' 'br1 web 192.168.1.50/24' 'br1 looping 192.168.1.51/24'
  before=$PATH
  PATH=$bin:$PATH start_watch --json "$LAN"
  [ "$PATH" = "$before" ]
  start_guest stuck
  wait_until 60 in_guest stuck ip link show dev eth1 > /dev/null 2>&1
  start_guest web
  wait_until 25 has web eth1 192.168.1.50/24
  docker restart --time 0 web > /dev/null
  wait_until 25 has web eth1 192.168.1.50/24
  docker restart --time 0 stuck > /dev/null
  never_said 192.168.1.9
  # A process that ends at once, started anew by its policy: the first are attached at once, then it has to wait.
  docker run --detach --name looping --network none --restart always busybox true > /dev/null
  wait_until 120 said '"text":"starts again and again'
  docker rm --force looping > /dev/null
  kill -TERM "$PW_PID"
  wait_until 60 said '"text":"ends"'
  touch "$bin/enough"
  end_watch
  assert_exit 0
  is "$(grep -c 'starts again and again' <<< "$output")" 1
  # One document a line, whatever it says; the last is the result.
  assert_json "$(jq -s . <<< "$output")" '
    (.[:-1] | all(has("time") and has("level") and has("text"))) and .[-1] == { ok: true, ended: true }
    and any(.[]; .about == "web" and .changed and .level == "info" and (.ms | type) == "number")'
  # What was under way was taken back.
  no_link stuck eth1
}

# sent — what has come over the socket that systemd would listen on.
sent() {
  grep -qF -- "$1" "$BATS_TEST_TMPDIR/notified"
}

@test "systemd is told when it is ready, alive, reading its files again, and ending" {
  need socat socat
  need systemd-notify systemd
  local socket=$BATS_TEST_TMPDIR/notify.sock socat
  on_host_exec socat -u "UNIX-RECV:$socket" "CREATE:$BATS_TEST_TMPDIR/notified" 3>&- 4>&- &
  socat=$!
  wait_until 30 test -S "$socket"
  write_lan 'br1 --no-probe web 192.168.1.50/24'
  start_guest web
  : > "$BATS_TEST_TMPDIR/pw.out"
  NOTIFY_SOCKET=$socket WATCHDOG_USEC=1000000 JOURNAL_STREAM=1:$(stat -c %i "$BATS_TEST_TMPDIR/pw.out") start_watch "$LAN"
  wait_until 60 sent 'READY=1'
  sent 'STATUS=1 attachment'
  # ready means attached
  has web eth1 192.168.1.50/24
  wait_until 60 sent 'WATCHDOG=1'
  kill -HUP "$PW_PID"
  wait_until 60 sent 'RELOADING=1'
  # in the journal, lines have a level and no time of their own
  said '<6>web: eth1 on br1, 192.168.1.50/24 ('
  end_watch
  assert_exit 0
  wait_until 30 sent 'STOPPING=1'
  kill "$socat"
  # nothing of that without systemd: no complaint, no program; in a shell that a service has started, no levels
  JOURNAL_STREAM=1:1 start_watch "$LAN"
  end_watch
  never_said systemd
  never_said '<'
}

@test "a lease is the same after a restart; what the host has for a container goes with it: client, rules, address" {
  local before leased
  need dnsmasq dnsmasq-base
  need udhcpc udhcpc
  need nft nftables
  guard_resolv_conf
  lan_bridge
  serve_dhcp
  write_lan 'br1 web udhcpc' 'br2 --bridge-address 10.0.0.1/24 --nat db 10.0.0.2/24@10.0.0.1' \
    'br3@vxlan:7,192.168.77.1 --firewall allow app 10.3.0.2/24'
  start_watch "$LAN"
  start_guest web
  wait_until 60 test_lease
  leased=$(addresses web)
  docker restart --time 0 web > /dev/null
  wait_until 60 said 'web: eth1 on br1, ' 2
  wait_until 60 test_lease
  is "$(addresses web)" "$leased"
  assert_resolv_conf
  start_guest db
  wait_until 60 has db eth1 10.0.0.2/24
  # The kernel shows it what is bridged, and it drops that.
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=1
  on_host iptables -P FORWARD DROP
  start_guest app
  wait_until 60 has_rules
  docker rm --force app db web > /dev/null
  wait_until 60 no_clients
  wait_until 60 no_rules
  # what it was connected to stays
  assert_json "$(on_host ip -d -j link show master br3)" 'map(.linkinfo.info_kind) == ["vxlan"]'
  on_host iptables -P FORWARD ACCEPT
  end_watch
  assert_exit 0
}

# test_lease — web has an address of the LAN's.
test_lease() {
  [[ $(addresses web) == 192.168.77.* ]]
} 2> /dev/null

# has_rules, no_rules — whether the host's firewall has the container leave under the host's address, and its bridge
# pass.
has_rules() {
  [[ $(on_host nft list ruleset) == *masquerade* && $(on_host iptables -S) == *'pipework br3'* ]]
}

no_rules() {
  [[ $(on_host nft list ruleset) != *masquerade* && $(on_host iptables -S) != *'pipework br3'* ]]
}

# memory — of the watch, in kB: what is its own, and what it shares with others.
memory() {
  awk '/^VmRSS/ { print $2 }' "/proc/$PW_PID/status"
}

@test "many containers restarting at random: those that run lose no packet, and all are attached in the end" {
  local count seconds half number end ping lines=() pids restarts=0
  count=${CHURN_COUNT-12} seconds=${CHURN_SECONDS-$(rounds_of 60 10)}
  half=$((count / 2))
  for ((number = 1; number <= count; number += 1)); do
    lines+=("br1 --no-probe c$number 10.9.0.$number/24")
    start_guest "c$number"
  done
  write_lan "${lines[@]}"
  start_watch "$LAN"
  for ((number = 1; number <= count; number += 1)); do wait_until 60 has "c$number" eth1 "10.9.0.$number/24"; done
  echo "memory at rest: $(memory) kB"
  # The upper half is left alone: what happens to the others does not cost it a packet.
  in_guest "c$count" ping -i 0.1 -W 5 -q "10.9.0.$((half + 1))" > "$BATS_TEST_TMPDIR/ping" 3>&- 4>&- &
  ping=$!
  end=$((SECONDS + seconds))
  while ((SECONDS < end)); do
    pids=()
    for _ in 1 2 3; do
      docker restart --time 0 "c$((RANDOM % half + 1))" > /dev/null 3>&- 4>&- &
      pids+=($!)
    done
    restarts=$((restarts + 3))
    wait "${pids[@]}"
  done
  for ((number = 1; number <= count; number += 1)); do wait_until 60 has "c$number" eth1 "10.9.0.$number/24"; done
  for ((number = 1; number < count; number += 1)); do in_guest "c$count" ping -c 1 -W 20 -q "10.9.0.$number" > /dev/null; done
  pkill -INT -P "$ping" ping 2> /dev/null || kill -INT "$ping"
  wait "$ping" || true
  cat "$BATS_TEST_TMPDIR/ping"
  grep -q ' 0% packet loss' "$BATS_TEST_TMPDIR/ping"
  echo "memory after $restarts restarts: $(memory) kB"
  (($(memory) < 120000))
  end_watch
  assert_exit 0
  # Nothing is left of all that but what is attached.
  assert_json "$(on_host ip -j link)" "length == $count + 3"
  is "$(on_host find /run/netns /run/pipework -name 'pipework-*' -o -name '*.lock')" ''
  echo "$output" | grep -c ' ms)'
}
