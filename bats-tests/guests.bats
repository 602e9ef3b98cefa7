#!/usr/bin/env bats
# Who a guest can be: Docker, Podman, LXC, a process; which one a name means, and why one cannot be used.

load rig
load promise

setup() { need_docker; }
teardown() { clean_host; }

# ping_lan GUEST — the LAN's end of the cable answers, once the host's NIC is in br1.
ping_lan() {
  on_host ip link set dev eth0 master br1
  wait_until 30 in_guest "$1" ping -c 1 -W 2 -q 192.168.77.1 > /dev/null
}

# assert_whole_life WORD NAME — attach, traffic, the same again, ls, dry run, disconnect: for a guest of any kind.
assert_whole_life() {
  bridge br1
  remember "$1"
  run_pw br1 "$2" 192.168.77.50/24@192.168.77.1,fd00::50/64
  assert_exit 0
  assert_out "$1 has eth1 on br1 with 192.168.77.50/24 (gateway 192.168.77.1) and fd00::50/64"
  assert_out "undo: pipework disconnect $1"
  [[ $(addresses "$1") == '192.168.77.50/24 fd00::50/64' ]]
  ping_lan "$1"
  run_pw br1 "$2" 192.168.77.50/24@192.168.77.1,fd00::50/64
  assert_exit 0
  assert_out 'nothing changed'
  run_pw ls
  assert_out "$1  "
  run_pw --dry-run disconnect "$1"
  assert_exit 0
  assert_out "$1"
  on_host ip link set dev eth0 nomaster
  assert_undone "$2"
}

# same_start COMMAND… — makes containers, never started, until two ids begin with the same digit, and prints it.
same_start() {
  local id
  local -A seen=()
  while id=$("$@") && id=${id:0:1} && [[ -z ${seen[$id]-} ]]; do seen[$id]=yes; done
  echo "$id"
}

# --- Podman ----------------------------------------------------------------------------------------------

@test "Podman: the whole life of an attachment, by a bare name" {
  need_podman
  start_podman_guest web
  assert_whole_life podman:web web
}

@test "Podman: by prefix, by id, by the beginning of the id; after a restart the link is made again" {
  need_podman
  start_podman_guest web
  local id
  id=$(on_host podman inspect --format '{{.Id}}' web)
  remember podman:web
  run_pw br1 podman:web 10.1.1.2/24
  assert_exit 0
  run_pw br1 "$id" 10.1.1.2/24
  assert_exit 0
  assert_out 'podman:web has eth1 on br1 with 10.1.1.2/24 already; nothing changed'
  run_pw br1 "podman:${id:0:5}" 10.1.1.2/24
  assert_exit 0
  assert_out 'nothing changed'
  on_host podman restart --time 0 web > /dev/null
  run_pw br1 web 10.1.1.2/24
  assert_exit 0
  [[ $(addresses podman:web) == 10.1.1.2/24 ]]
  assert_undone web
}

@test "Podman: created, exited, paused, in the host's network, unknown" {
  need_podman
  on_host podman create --name idle --network none busybox > /dev/null
  start_podman_guest gone
  on_host podman stop --time 0 gone > /dev/null
  start_podman_guest asleep
  on_host podman pause asleep > /dev/null
  start_podman_guest hosty --network host
  remember
  run_pw br1 idle 10.1.1.2/24
  assert_refused 1 "the container 'idle' is not running (created)" 'podman start idle'
  run_pw br1 gone 10.1.1.2/24
  assert_refused 1 "the container 'gone' is not running (exited)" 'podman start gone'
  run_pw br1 asleep 10.1.1.2/24
  assert_refused 1 "the container 'asleep' is paused" 'podman unpause asleep'
  run_pw br1 hosty 10.1.1.2/24
  assert_refused 1 "'hosty' shares the network of the host" '--network'
  run_pw br1 podman:asleeq 10.1.1.2/24
  assert_refused 1 "there is no container 'asleeq' in Podman" 'Did you mean asleep?'
  run_pw br1 zzzzzz 10.1.1.2/24
  assert_refused 1 "there is no container 'zzzzzz' in Docker, Podman" 'podman ps' 'pid:N'
  on_host podman unpause asleep > /dev/null
}

@test "Podman: a container that is awaited" {
  need_podman
  start_pw --wait-guest 100 br1 podman:late 10.1.1.2/24
  start_podman_guest late
  wait_pw
  assert_exit 0
  [[ $(addresses podman:late) == 10.1.1.2/24 ]]
}

@test "Podman: its API is asked instead of its command where it is served" {
  need_podman
  start_podman_guest web
  start_podman_guest side --network container:web
  on_host mkdir -p /run/podman
  rig_daemon podman podman system service --time 0 unix:///run/podman/podman.sock
  wait_until 60 on_host test -S /run/podman/podman.sock
  remember podman:web
  # The command alone would look into another store now.
  CONTAINERS_STORAGE_CONF=/nonexistent run_pw br1 podman:web 10.1.1.2/24
  assert_exit 0
  [[ $(addresses podman:web) == 10.1.1.2/24 ]]
  CONTAINERS_STORAGE_CONF=/nonexistent run_pw br1 -i eth2 podman:side 10.1.2.2/24
  assert_exit 0
  assert_out 'side shares the network of web'
  run_pw disconnect podman:side
  assert_exit 0
  # not what the other name had asked for
  [[ $(addresses podman:web) == 10.1.1.2/24 ]]
  CONTAINERS_STORAGE_CONF=/nonexistent run_pw br1 podman:nosuch 10.1.1.2/24
  assert_exit 1
  assert_err "there is no container 'nosuch' in Podman"
  rig_stop podman
  # A socket that nobody serves is no obstacle.
  run_pw br1 podman:web 10.1.1.2/24
  assert_exit 0
  assert_undone podman:web
  on_host rm -r /run/podman
}

# --- LXC -------------------------------------------------------------------------------------------------

@test "LXC: the whole life of an attachment, by a bare name" {
  need_lxc
  start_lxc_guest blue
  assert_whole_life lxc:blue blue
}

@test "LXC: stopped, frozen, in the host's network, unknown" {
  need_lxc
  make_lxc_guest idle
  start_lxc_guest asleep
  on_host lxc-freeze asleep
  start_lxc_guest hosty
  on_host lxc-stop --kill hosty
  # Its own init would ask for an address by DHCP, and take that of the host's eth0 away before.
  on_host sed -i 's/^lxc.net.0.type.*/lxc.net.0.type = none\nlxc.init.cmd = \/bin\/sleep 2147483/' /var/lib/lxc/hosty/config
  on_host lxc-start --daemon hosty 3>&- 4>&-
  remember
  run_pw br1 idle 10.1.1.2/24
  assert_refused 1 "the LXC container 'idle' is not running (stopped)" 'lxc-start -n idle'
  run_pw br1 asleep 10.1.1.2/24
  assert_refused 1 "the LXC container 'asleep' is frozen" 'lxc-unfreeze -n asleep'
  run_pw br1 hosty 10.1.1.2/24
  assert_refused 1 "'hosty' shares the network of the host" 'lxc.net.0.type'
  run_pw br1 lxc:asleeq 10.1.1.2/24
  assert_refused 1 "there is no container 'asleeq' in LXC" 'Did you mean asleep?'
  on_host lxc-unfreeze asleep
}

@test "LXC: stopped while attached, its record is gone with it" {
  need_lxc
  start_lxc_guest blue
  remember
  pw br1 blue 10.1.1.2/24
  on_host lxc-stop --kill blue
  wait_until 30 on_host sh -c '! ls /sys/class/net | grep -q ^veth1pl'
  run_pw disconnect lxc:blue
  assert_exit 0
  assert_out 'lxc:blue has nothing that pipework attached'
  on_host ip link del dev br1
  assert_as_remembered
}

# --- which one a name means ------------------------------------------------------------------------------

@test "one name in Docker, Podman and LXC: the first has it, a prefix says which" {
  need_podman
  need_lxc
  start_guest web
  start_podman_guest web
  start_lxc_guest web
  remember web podman:web lxc:web
  run_pw br1 web 10.1.1.2/24
  assert_exit 0
  assert_out 'web has eth1'
  run_pw br1 podman:web 10.1.1.3/24
  assert_exit 0
  run_pw br1 lxc:web 10.1.1.4/24
  assert_exit 0
  [[ $(addresses web) == 10.1.1.2/24 ]]
  [[ $(addresses podman:web) == 10.1.1.3/24 ]]
  [[ $(addresses lxc:web) == 10.1.1.4/24 ]]
  in_guest lxc:web ping -c 1 -W 20 -q 10.1.1.3
  run_pw disconnect docker:web
  assert_exit 0
  docker rm --force web > /dev/null
  run_pw disconnect web
  assert_exit 0
  assert_out 'podman:web no longer has eth1'
  run_pw disconnect lxc:web
  assert_exit 0
  # shellcheck disable=SC2034 # without Docker's, which is gone
  REMEMBERED=(podman:web lxc:web)
  assert_as_remembered
}

@test "a name goes before the beginning of an id, of whatever runtime" {
  need_podman
  local id
  id=$(docker run --detach --network none --name one busybox)
  start_podman_guest "${id:0:6}"
  remember one "podman:${id:0:6}"
  run_pw br1 "${id:0:6}" 10.1.1.2/24
  assert_exit 0
  assert_out "podman:${id:0:6} has eth1"
  run_pw br1 "${id:0:7}" 10.1.1.3/24
  assert_exit 0
  assert_out 'one has eth1'
  run_pw disconnect "${id:0:6}"
  assert_exit 0
  assert_out "podman:${id:0:6} no longer has eth1"
  assert_undone one
}

@test "the beginning of an id in Docker and of one in Podman is ambiguous" {
  need_podman
  local id start
  id=$(docker run --detach --network none --name one busybox)
  start=${id:0:1}
  until id=$(on_host podman create --network none busybox) && [[ $id == "$start"* ]]; do
    on_host podman rm "$id" > /dev/null
  done
  remember one
  run_pw br1 "$start" 10.1.1.2/24
  assert_refused 1 "'$start' is ambiguous: it may mean docker:one (" ') or podman:' 'Write one of these'
  run_pw disconnect "$start"
  assert_refused 1 "'$start' is ambiguous"
}

@test "disconnect by the beginning of two ids is refused" {
  local first second
  start_guest one
  pw br1 one 10.1.1.2/24
  until second=$(docker create --network none busybox) && first=$(docker inspect --format '{{.Id}}' one) &&
    [[ ${second:0:1} == "${first:0:1}" ]]; do docker rm "$second" > /dev/null; done
  remember one
  run_pw disconnect "${first:0:1}"
  assert_refused 1 "'${first:0:1}' is ambiguous: it may mean docker:" 'Write one of these'
}

@test "the beginning of two ids is ambiguous, in Docker and in Podman" {
  need_podman
  local start
  start=$(same_start docker create busybox)
  remember
  run_pw br1 "docker:$start" 10.1.1.2/24
  assert_refused 1 "'$start' is ambiguous: it may mean docker:" ' or docker:' 'more digits of the id'
  start=$(same_start on_host podman create --network none busybox)
  run_pw br1 "podman:$start" 10.1.1.2/24
  assert_refused 1 "'$start' is ambiguous: it may mean podman:" ' or podman:' 'more digits of the id'
}

@test "Docker is down: Podman's and LXC's containers are found all the same, and what is missing is said" {
  need_podman
  need_lxc
  start_podman_guest web
  start_lxc_guest blue
  remember podman:web lxc:blue
  export DOCKER_HOST=unix:///run/nobody.sock
  run_pw br1 web 10.1.1.2/24
  assert_exit 0
  run_pw br1 blue 10.1.1.3/24
  assert_exit 0
  run_pw br1 nosuch 10.1.1.4/24
  assert_exit 1
  assert_err "there is no container 'nosuch' in Podman"
  assert_err "and not all could be asked: Docker is not running: nobody listens on '/run/nobody.sock'"
  assert_err 'systemctl start docker'
  run_pw disconnect web
  assert_exit 0
  run_pw disconnect blue
  assert_exit 0
  export DOCKER_HOST=unix://$RIG_DIR/docker.sock
  assert_as_remembered
}

@test "a bare name that only a namespace or a process has: the hint says how to write it" {
  netns_guest blue
  remember
  run_pw br1 blue 10.1.1.2/24
  assert_refused 1 "there is no container 'blue'" 'Did you mean netns:blue?'
  run_pw br1 "$$" 10.1.1.2/24
  assert_refused 1 "there is no container '$$'" "Did you mean pid:$$?"
}

# --- whose namespace it is -------------------------------------------------------------------------------

@test "a container in another's network: whose it is is said, in words and in JSON" {
  start_guest web
  docker run --detach --name side --network container:web busybox > /dev/null
  remember web
  run_pw br1 side 10.1.1.2/24
  assert_exit 0
  assert_out 'side has eth1 on br1'
  assert_out 'side shares the network of web: both have it now'
  [[ $(addresses web) == 10.1.1.2/24 ]]
  run_pw --json br1 side 10.1.1.2/24
  assert_json "$output" '.changed == false and .sharedWith == "web"'
  assert_undone side
}

@test "a container in another's network: either name says the same attachment, and takes it away" {
  start_guest web
  start_guest else
  docker run --detach --name side --network container:web busybox > /dev/null
  remember web else
  pw br1 else 10.1.1.9/24
  pw br1 side 10.1.1.2/24
  run_pw --json br1 web 10.1.1.2/24
  assert_json "$output" '.changed == false and .attachment.guest.name == "side"'
  # by the one it is changed, by the other taken away: beside it, not that of somebody else
  pw br1 web 10.1.1.3/24
  [[ $(addresses web) == 10.1.1.3/24 ]]
  run_pw inspect web --json
  assert_json "$output" '.attachments | length == 1 and .[0].undo == "pipework disconnect side eth1"'
  run_pw --dry-run disconnect web
  assert_out 'detach eth1 from side'
  run_pw disconnect web
  assert_out 'side no longer has eth1'
  pw br1 -i eth2 web 10.1.2.2/24
  run_pw disconnect side
  assert_out 'web no longer has eth2'
  # the name in the record is gone, its link is there
  pw br1 side 10.1.1.2/24
  docker rm --force side > /dev/null
  run_pw disconnect web
  assert_out 'side no longer has eth1'
  assert_exit 0
  pw disconnect else
  assert_as_remembered
}

@test "Podman that answers in Docker's place: both prefixes are one attachment" {
  need_podman
  start_podman_guest web
  remember podman:web
  rig_daemon podman-api podman system service --time=0 "unix://$RIG_DIR/podman-api.sock"
  wait_until 30 test -S "$RIG_DIR/podman-api.sock"
  DOCKER_HOST=unix://$RIG_DIR/podman-api.sock
  pw --no-probe br1 docker:web 10.1.1.2/24
  run_pw --json br1 podman:web 10.1.1.2/24
  assert_json "$output" '.changed == false'
  run_pw disconnect podman:web
  assert_out 'web no longer has eth1'
  rig_stop podman-api
  assert_as_remembered
}

@test "Podman: a container in another's network, and one in a pod" {
  need_podman
  start_podman_guest web
  start_podman_guest side --network container:web
  on_host podman pod create --name duo --network none --cgroup-parent "/${RIG_DIR##*/}" --infra-name duo-net \
    --infra-image localhost/busybox:latest --infra-command '/bin/sleep 2147483' > /dev/null
  start_podman_guest member --pod duo
  remember podman:web podman:duo-net
  run_pw br1 side 10.1.1.2/24
  assert_exit 0
  assert_out 'side shares the network of web'
  run_pw br1 member 10.1.1.3/24
  assert_exit 0
  assert_out 'member shares the network of duo-net'
  in_guest podman:duo-net ping -c 1 -W 20 -q 10.1.1.2
  run_pw disconnect member
  assert_exit 0
  assert_undone side
}

# --- processes and containerd ----------------------------------------------------------------------------

@test "pid: the whole life of an attachment to a process" {
  start_guest web
  local pid
  pid=$(docker inspect --format '{{.State.Pid}}' web)
  bridge br1
  remember web
  run_pw br1 "pid:$pid" 192.168.77.50/24
  assert_exit 0
  assert_out "pid:$pid has eth1 on br1"
  [[ $(addresses web) == 192.168.77.50/24 ]]
  ping_lan web
  run_pw br1 "pid:$pid" 192.168.77.50/24
  assert_out 'nothing changed'
  on_host ip link set dev eth0 nomaster
  assert_undone "pid:$pid"
}

@test "pid: what an earlier process of that number was given is not this one's" {
  start_guest web
  start_guest else
  local pid end alias
  pid=$(docker inspect --format '{{.State.Pid}}' web)
  pw br1 "pid:$pid" 10.1.1.2/24
  end=$(host_end "$pid" eth1)
  alias=$(on_host cat "/sys/class/net/$end/ifalias")
  [[ $alias == *";c=$(cut -d ' ' -f 22 "/proc/$pid/stat");"* ]]
  pw disconnect "pid:$pid"
  # A namespace that has outlived its process, whose number another has now.
  pw br1 else 10.1.1.3/24
  end=$(host_end else eth1)
  on_host ip link set dev "$end" alias "${alias/;c=*;i=/;c=1;i=}"
  run_pw disconnect "pid:$pid"
  assert_exit 0
  assert_out 'nothing that pipework attached'
  on_host ip link show dev "$end"
  docker rm --force web else > /dev/null
}

@test "pid: the host's own network, a process that is not there, one that has ended" {
  remember
  run_pw br1 pid:99999999 10.1.1.2/24
  assert_refused 1 "there is no process '99999999'"
  local pid
  on_host_exec sleep 1000 3>&- 4>&- &
  pid=$!
  run_pw br1 "pid:$pid" 10.1.1.2/24
  assert_refused 1 "'$pid' shares the network of the host"
  kill "$pid"
  wait_until 30 gone "$pid"
  run_pw br1 "pid:$pid" 10.1.1.2/24
  assert_exit 1
  assert_as_remembered
}

# Debian 12 has no nerdctl, and no registry gives one here: what it prints is written after its source and its issues.
@test "containerd, with a stand-in for nerdctl that inspects a container of Docker's" {
  start_guest web
  local bin=$BATS_TEST_TMPDIR/bin pid
  pid=$(docker inspect --format '{{.State.Pid}}' web)
  mkdir "$bin"
  cat > "$bin/nerdctl" << END
#!/bin/sh
case "\$*" in
  'inspect --type container cd') jq --argjson pid $pid '.[0].State.Pid = \$pid | .[0].Id = "$(docker inspect --format '{{.Id}}' web)"' \
    '$BATS_TEST_DIRNAME/../src/fixtures/nerdctl-2.3/running.json' ;;
  inspect*) cat '$BATS_TEST_DIRNAME/../src/fixtures/nerdctl-2.3/unknown.txt' >&2; exit 1 ;;
esac
END
  chmod +x "$bin/nerdctl"
  export PATH=$bin:$PATH
  remember web
  run_pw br1 nerdctl:cd 10.1.1.2/24
  assert_exit 0
  assert_out 'nerdctl:cd has eth1'
  [[ $(addresses web) == 10.1.1.2/24 ]]
  run_pw br1 cd 10.1.1.2/24
  assert_exit 0
  assert_out 'nerdctl:cd has eth1 on br1 with 10.1.1.2/24 already; nothing changed'
  run_pw br1 nerdctl:dc 10.1.1.2/24
  assert_exit 1
  assert_err "there is no container 'dc' in nerdctl"
  assert_undone nerdctl:cd
}
