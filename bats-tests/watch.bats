#!/usr/bin/env bats
# pipework watch: attachments of files that are kept, whatever happens to containers, daemons and watches.

load rig
load promise

setup() {
  need_docker
  LAN=$BATS_TEST_TMPDIR/lan.pipework
}

teardown() {
  [[ -z ${PW_PID-} ]] || end_watch
  stop_own_docker
  clean_host
}

# write_lan LINE… — the file that is watched.
write_lan() {
  printf '%s\n' "$@" > "$LAN"
}

# start_watch ARG… — starts a watch and waits until it follows Docker's events.
start_watch() {
  start_pw watch "$@"
  wait_until 60 said 'Docker: follows its events'
}

# said TEXT [TIMES] — the watch has said so, that often at least.
said() {
  (($(grep -cF -- "$1" "$BATS_TEST_TMPDIR/pw.out") >= ${2-1}))
}

# count TEXT — how often it has.
count() {
  grep -cF -- "$1" "$BATS_TEST_TMPDIR/pw.out" || true
}

# end_watch — ends it in order; sets status, output and stderr.
end_watch() {
  kill -TERM "$PW_PID" 2> /dev/null || true
  wait_pw
  PW_PID=
}

# has GUEST IFNAME ADDRESS… — the interface is up, with exactly these addresses.
has() {
  [[ $(in_guest "$1" ip -j address show dev "$2" | jq --arg wanted "${*:3}" '.[0] | (.flags | index("UP") != null) and
    ([.addr_info[] | select(.family == "inet") | "\(.local)/\(.prefixlen)"] | join(" ")) == $wanted') == true ]]
} 2> /dev/null

# identity GUEST — what neighbours and the host's administrator know the attachment by.
identity() {
  link "$1" eth1 | jq -c '[.address, [.addr_info[] | select(.family == "inet") | .local]]'
  pw ls --json | jq -r --arg name "$1" '.attachments[] | select(.guest.name == $name) | .hostEnd'
}

# is GOT WANTED — the two are equal.
is() {
  [[ $1 == "$2" ]] || fail "$1" 'is not' "$2"
}

# start_own_docker [ARG…] — a dockerd of this test alone, which may be killed; DOCKER_HOST leads to it.
start_own_docker() {
  local dir=$RIG_DIR/own
  mkdir -p "$dir"
  export DOCKER_HOST=unix://$dir/docker.sock
  rig_daemon own-dockerd dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
    --host "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${RIG_DIR##*/}" \
    --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false "$@"
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
  # its restart policy
  docker exec db kill -TERM 1
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
  [ ! -e "$RIG_DIR/none" ]
  on_host test ! -e /run/pipework/watch.lock
}

@test "rename: what is written for the new name; in the file again after SIGHUP; a file with mistakes keeps the old one" {
  write_lan 'br1 web 192.168.1.50/24' 'br1 -i eth2 new 192.168.1.51/24'
  start_guest web
  start_watch "$LAN"
  wait_until 60 has web eth1 192.168.1.50/24
  docker rename web new
  wait_until 60 has new eth2 192.168.1.51/24
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
  start_own_docker
  write_lan 'br1 web 192.168.1.50/24' 'br1 db 192.168.1.51/24'
  start_guest web --restart always
  start_guest db --restart always
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
