# shellcheck shell=bash
# shellcheck disable=SC2154 # status, output, stderr and BATS_* are set by bats
#
# The rig: a throw-away Docker host with a LAN behind it, made once per suite by setup_suite.bash.
#
#     LAN namespace                  host namespace
#     lan0 192.168.77.1/24 ───────── eth0 192.168.77.10/24   own dockerd, own /run, own /sys
#
# The host has its own mount namespace too: /run/netns, docker.sock, pid files and /etc/netns in there are
# nobody else's, so container and namespace names need no prefix and two suites run side by side.
# A test file starts like this:
#
#     load rig
#     setup() { need_docker; }        # or need_host, when netns:… guests are enough
#     teardown() { clean_host; }
#
# Exported by setup_suite: RIG_DIR, DOCKER_HOST, HOST_NS and LAN_NS (paths: `ip -n "$HOST_NS" link`), PIPEWORK.

bats_require_minimum_version 1.5.0

# shellcheck source=bats-tests/soak.bash
source "${BASH_SOURCE[0]%/*}/soak.bash"

# What a container runs. Its first process gets no signal that it does not catch: `docker stop` would take 10 s.
RIG_CMD='["sh", "-c", "trap exit TERM; sleep 2147483 & wait"]'

# rig_busybox — prints the root of a container, as tar.
rig_busybox() {
  if [[ ! -e $RIG_DIR/root ]]; then
    mkdir -p "$RIG_DIR/root/bin"
    cp "$(command -v busybox)" "$RIG_DIR/root/bin/busybox"
    chroot "$RIG_DIR/root" /bin/busybox --install -s /bin
  fi
  tar -C "$RIG_DIR/root" -c .
}

# --- what a test needs -----------------------------------------------------------------------------------

# missing REASON — skips the test; in CI a missing piece is a failure, else nobody would notice.
missing() {
  [[ -z ${CI-} ]] || fail "$1 (and CI must not skip)"
  skip "$1"
}

# need COMMAND DEBIAN_PACKAGE — skips unless COMMAND is installed.
need() {
  command -v "$1" > /dev/null || missing "$1 is missing: apt-get install $2"
}

# need_host — skips unless the rig has its host and LAN (root, iproute2, jq).
need_host() {
  [[ -z ${RIG_NO_HOST-} ]] || missing "$RIG_NO_HOST"
}

# need_docker — skips unless the rig's host runs Docker.
need_docker() {
  need_host
  [[ -z ${RIG_NO_DOCKER-} ]] || missing "$RIG_NO_DOCKER"
}

# need_podman — skips unless Podman runs here; its store is the rig's own.
need_podman() {
  need_host
  need podman podman
  need busybox busybox-static
  export CONTAINERS_CONF=$RIG_DIR/containers.conf CONTAINERS_STORAGE_CONF=$RIG_DIR/storage.conf
  [[ ! -e $RIG_DIR/podman ]] || return 0
  mkdir "$RIG_DIR/podman"
  # No systemd for the cgroups and the journal, no right to raise limits, no overlay on an overlay.
  cat > "$CONTAINERS_CONF" << END
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
END
  cat > "$CONTAINERS_STORAGE_CONF" << END
[storage]
driver = "vfs"
graphroot = "$RIG_DIR/podman/root"
runroot = "$RIG_DIR/podman/run"
END
  rig_busybox | on_host podman import --quiet --change "CMD $RIG_CMD" - busybox:latest > /dev/null
}

# need_lxc — skips unless LXC is there; its containers are the rig's own.
need_lxc() {
  need_host
  need lxc-start lxc
  need busybox busybox-static
  [[ ! -e $RIG_DIR/lxc ]] || return 0
  mkdir "$RIG_DIR/lxc"
  on_host mount --bind "$RIG_DIR/lxc" /var/lib/lxc
}

# keep_mounts FILE — a copy of the mounts here in a namespace that FILE stands for. Since 6.18 the kernel numbers
# namespaces on each CPU by itself, and keeps one only where its number is above our own: on the CPU that gave us ours.
keep_mounts() {
  local cpu
  for ((cpu = 0; cpu < $(nproc --all); cpu++)); do
    ! taskset --cpu-list "$cpu" unshare --mount="$1" true 2> /dev/null || return 0
  done
  unshare --mount="$1" true
}

# --- where a command runs --------------------------------------------------------------------------------

# on_host CMD… — runs CMD on the rig's host, in the test's own directory.
on_host() {
  nsenter --mount="$RIG_DIR/ns/mnt" --net="$HOST_NS" env -C "$PWD" "$@"
}

# on_lan CMD… — runs CMD on the machine at the other end of the host's eth0.
on_lan() {
  nsenter --mount="$RIG_DIR/ns/mnt" --net="$LAN_NS" env -C "$PWD" "$@"
}

# in_guest NAME CMD… — runs one of the host's CMDs in the network of a container or of a netns guest. Those of Podman
# and LXC are podman:NAME and lxc:NAME here.
in_guest() {
  local net
  net=$(guest_net "$1") || return
  on_host nsenter --net="$net" "${@:2}"
}

# guest_net NAME — prints the path, on the host, of the guest's network namespace.
guest_net() {
  local pid
  if on_host test -e "/run/netns/$1"; then
    echo "/run/netns/$1"
    return
  fi
  case $1 in
    podman:*) pid=$(on_host podman inspect --type container --format '{{.State.Pid}}' "${1#*:}") ;;
    lxc:*) pid=$(on_host lxc-info --name "${1#*:}" --pid --no-humanize) ;;
    *) pid=$(docker inspect --type container --format '{{.State.Pid}}' "$1") ;;
  esac || return
  ((pid > 0)) || fail "container $1 is not running"
  echo "/proc/$pid/ns/net"
}

# pw ARG… — runs pipework on the host. (Node reads a CA bundle named in the environment at start: 80 ms.)
pw() {
  on_host env -u NODE_EXTRA_CA_CERTS "$PIPEWORK" "$@"
}

# run_pw ARG… — the same under `run`: sets status, output (stdout) and stderr.
run_pw() {
  run --separate-stderr pw "$@"
}

# start_pw ARG… — starts pipework in the background; PW_PID is its own PID, good for `kill -INT "$PW_PID"`.
start_pw() {
  # An asynchronous command of a script ignores SIGINT; pipework shall get it as from a terminal.
  on_host_exec env -u NODE_EXTRA_CA_CERTS --default-signal=INT,QUIT "$PIPEWORK" "$@" \
    > "$BATS_TEST_TMPDIR/pw.out" 2> "$BATS_TEST_TMPDIR/pw.err" < /dev/null 3>&- 4>&- &
  PW_PID=$!
}

# wait_pw — waits for it and sets status, output and stderr as `run` does.
wait_pw() {
  status=0
  wait "$PW_PID" || status=$?
  output=$(< "$BATS_TEST_TMPDIR/pw.out")
  stderr=$(< "$BATS_TEST_TMPDIR/pw.err")
}

# on_host_exec CMD… — on_host in place of this (sub)shell, so that $! of a background job is CMD itself.
on_host_exec() {
  exec nsenter --mount="$RIG_DIR/ns/mnt" --net="$HOST_NS" env -C "$PWD" "$@"
}

# --- guests ----------------------------------------------------------------------------------------------

# start_guest NAME [DOCKER_RUN_ARG…] — starts a busybox container, without a network unless told otherwise.
start_guest() {
  local network=(--network none)
  [[ " ${*:2}" != *" --net"* ]] || network=()
  docker run --detach --name "$1" --hostname "$1" "${network[@]}" "${@:2}" busybox > /dev/null
}

# start_podman_guest NAME [PODMAN_RUN_ARG…] — the same with Podman.
start_podman_guest() {
  local network=(--network none)
  [[ " ${*:2}" != *" --net"* && " ${*:2}" != *" --pod"* ]] || network=()
  on_host podman run --detach --name "$1" --cgroup-parent "/${RIG_DIR##*/}" "${network[@]}" "${@:2}" busybox > /dev/null
}

# make_lxc_guest NAME [CONFIG_LINE…] — makes an LXC container of busybox, without a network unless told otherwise.
make_lxc_guest() {
  # Its cgroups are the rig's, which rig_down removes; those of others here may have the same name.
  on_host lxc-create --name "$1" --template busybox --config /dev/stdin > "$BATS_TEST_TMPDIR/lxc-create.log" 2>&1 \
    <<< "$(printf '%s\n' "${@:2}" 'lxc.net.0.type = empty' "lxc.cgroup.dir = ${RIG_DIR##*/}")" ||
    fail "$(< "$BATS_TEST_TMPDIR/lxc-create.log")"
}

# start_lxc_guest NAME [CONFIG_LINE…] — makes it and starts it.
start_lxc_guest() {
  make_lxc_guest "$@"
  on_host lxc-start --daemon --name "$1" 3>&- 4>&-
  wait_until 30 on_host lxc-wait --name "$1" --state RUNNING --timeout 0
}

# stop_guest NAME — stops the container (it can be started again with `docker start`).
stop_guest() {
  docker stop "$1" > /dev/null
}

# netns_guest NAME — makes a namespace of `ip netns` on the host: pipework's netns:NAME.
netns_guest() {
  on_host ip netns add "$1"
  in_guest "$1" ip link set dev lo up
}

# --- daemons and captures --------------------------------------------------------------------------------

# rig_daemon NAME CMD… — starts CMD on the host for the rest of the suite; its output is in $RIG_DIR/NAME.log.
rig_daemon() {
  # In a session of its own, so that Ctrl-C reaches bats alone and the daemon is stopped in order.
  on_host_exec setsid "${@:2}" > "$RIG_DIR/$1.log" 2>&1 < /dev/null 3>&- 4>&- &
  echo "$!" > "$RIG_DIR/$1.pid"
}

# rig_stop NAME — stops a daemon of rig_daemon before the suite ends.
rig_stop() {
  local pid
  pid=$(< "$RIG_DIR/$1.pid") || return 0
  rm -f "$RIG_DIR/$1.pid"
  kill "$pid" 2> /dev/null || return 0
  wait_until 30 gone "$pid" || kill -KILL "$pid"
}

# gone PID — true when the process has ended, be it as a zombie that nobody collects.
gone() {
  local stat
  # It may end between a look whether it is there and the next.
  { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 0
  [[ $stat == *') Z '* ]]
}

# capture IF FILE [FILTER…] — writes what passes IF on the host to FILE, as text with MACs; ready on return.
capture() {
  on_host_exec tcpdump -i "$1" -Z root -nn -e -l --immediate-mode "${@:3}" > "$2" 2>&1 < /dev/null 3>&- 4>&- &
  echo "$!" > "$RIG_DIR/capture.pid"
  wait_until 30 grep -q '^listening on' "$2"
}

# stop_capture — ends the capture.
stop_capture() {
  [[ ! -e $RIG_DIR/capture.pid ]] || rig_stop capture
}

# start_ovs — a fresh Open vSwitch on the host, without the kernel's datapath; OVS_RUNDIR leads to it.
start_ovs() {
  export OVS_RUNDIR=$RIG_DIR/ovs
  rm -rf "$OVS_RUNDIR"
  mkdir "$OVS_RUNDIR"
  ovsdb-tool create "$OVS_RUNDIR/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  rig_daemon ovsdb ovsdb-server "$OVS_RUNDIR/conf.db" "--remote=punix:$OVS_RUNDIR/db.sock" \
    "--pidfile=$OVS_RUNDIR/ovsdb-server.pid" "--unixctl=$OVS_RUNDIR/ovsdb-server.ctl"
  wait_until 30 on_host ovs-vsctl --timeout=1 --no-wait init 2> /dev/null
  # Else the checksums that a veth leaves to hardware are never made: ping works, TCP does not.
  on_host ovs-vsctl --timeout=5 --no-wait set Open_vSwitch . other_config:userspace-tso-enable=true
  start_vswitchd
}

# start_vswitchd — the one of the two that forwards; for tests that have stopped it.
start_vswitchd() {
  rig_daemon vswitchd ovs-vswitchd "unix:$OVS_RUNDIR/db.sock" "--pidfile=$OVS_RUNDIR/ovs-vswitchd.pid" \
    "--unixctl=$OVS_RUNDIR/ovs-vswitchd.ctl"
  wait_until 30 on_host ovs-appctl --timeout=1 -t "$OVS_RUNDIR/ovs-vswitchd.ctl" version > /dev/null 2>&1
}

# stop_ovs — the end of it; its devices stay, and are for clean_host.
stop_ovs() {
  local daemon
  for daemon in vswitchd ovsdb; do [[ ! -e $RIG_DIR/$daemon.pid ]] || rig_stop "$daemon"; done
}

# --- state -----------------------------------------------------------------------------------------------

# host_state — prints the host's links, addresses, routes, sysctls and pinned namespaces as sorted JSON.
host_state() {
  net_state "$HOST_NS"
}

# guest_state NAME — prints the same for a guest.
guest_state() {
  local net
  net=$(guest_net "$1") || return
  net_state "$net"
}

# net_state NETNS — what both print: everything pipework may change, nothing that changes by itself.
net_state() {
  local enter=(nsenter --mount="$RIG_DIR/ns/mnt" --net="$HOST_NS") facts key
  # The path of a guest's namespace is good only on the host, so that it takes a second nsenter.
  [[ $1 == "$HOST_NS" ]] || enter+=(nsenter --net="$1")
  # Thousands of states are read, so there are few processes in here: the loops are of builtins alone. (The read of sh
  # asks for one byte at a time, and a sysctl answers once.)
  # shellcheck disable=SC2016 # expanded in the namespace
  facts=$("${enter[@]}" bash -c '
    ip -d -j address
    for family in 4 6; do
      ip "-$family" -j -batch - << END
route show table all
rule
END
    done
    cd /proc/sys/net && comma= && printf "["
    for file in ipv4/conf/*/arp_notify ipv6/conf/*/ndisc_notify ipv6/conf/*/disable_ipv6 ipv6/conf/*/accept_dad; do
      read -r value < "$file" && printf "%s\"%s:%s\"" "$comma" "$file" "$value" && comma=,
    done
    comma= && printf "]["
    for pin in /run/netns/pipework-*; do
      [ ! -L "$pin" ] && [ ! -e "$pin" ] || { printf "%s\"%s\"" "$comma" "${pin##*/}"; comma=,; }
    done
    comma= && printf "]["
    for file in /sys/class/net/*/addr_assign_type; do
      read -r value < "$file" && [ "$value" = 3 ] || continue
      name=${file%/*}
      printf "%s\"%s\"" "$comma" "${name##*/}" && comma=,
    done
    echo "]"
  ' | sed -E 's/"(ifindex|link_index|expires|valid_life_time|preferred_life_time|[a-z_]+_timer)":[0-9.]+/"\1":0/g') || return
  # jq takes longer to start than all of that. What it made of the same facts before is kept.
  key=$(md5sum <<< "$facts")
  key=$RIG_DIR/states/${key%% *}
  [[ -e $key ]] || state_of "$facts" > "$key" || { rm -f "$key"; return 1; }
  echo "$(< "$key")"
}

# state_of FACTS — prints what net_state has read as one sorted document.
state_of() {
  jq -S -s '
    # Link-local addresses come by themselves, whenever a carrier does; so do their routes.
    def own: (.dst // "" | test("^(fe80:|ff00:)")) | not;
    .[7] as $pinned | {
      links: (.[0] | map({
        name: .ifname, kind: (.linkinfo.info_kind // .link_type), mtu, master, alias: .ifalias,
        # A bridge whose MAC nobody set takes one of its ports.
        mac: (if .linkinfo.info_kind == "bridge" and (.ifname | IN($pinned[]) | not) then "auto" else .address end),
        stp: .linkinfo.info_data.stp_state, vlan_filtering: .linkinfo.info_data.vlan_filtering,
        flags: (.flags - ["LOWER_UP", "NO-CARRIER", "M-DOWN", "RUNNING", "PROMISC"]),
        addresses: (.addr_info | map(select(.local and (.family == "inet" or .scope != "link"))
          | del(.tentative, .optimistic, .valid_life_time, .preferred_life_time)) | sort_by(.family, .local))
      } | del(.[] | nulls)) | sort_by(.name)),
      routes: (.[1] + .[3] | map(select(own) | del(.expires, .cache) | .flags -= ["linkdown", "dead"]) | sort_by(tojson)),
      rules: (.[2] + .[4] | sort_by(tojson)),
      sysctls: .[5],
      pins: .[6]
    }' <<< "$1"
}

# --- assertions ------------------------------------------------------------------------------------------

# fail MESSAGE — fails the test.
fail() {
  printf '%s\n' "$@" >&2
  return 1
}

# assert_same_state BEFORE AFTER — two outputs of host_state or guest_state are equal; else prints the diff.
assert_same_state() {
  [[ -n $1 && -n $2 ]] || fail 'a state is empty: it could not be read' || return
  diff -U 4 --label before --label after <(printf '%s\n' "$1") <(printf '%s\n' "$2") >&2
}

# assert_json JSON FILTER [MESSAGE] — the jq FILTER is true of JSON; else prints the document.
assert_json() {
  jq -e "$2" > /dev/null <<< "$1" || fail "${3:-not true of this document}: $2" "$(jq . <<< "$1" 2>&1 || echo "$1")"
}

# assert_exit CODE — the last `run`, run_pw or wait_pw ended with CODE; else prints what it said.
assert_exit() {
  ((status == $1)) || fail "exit code $status instead of $1" "--- stdout" "$output" "--- stderr" "${stderr-}"
}

# assert_out TEXT — its stdout contains TEXT, literally.
assert_out() {
  [[ $output == *"$1"* ]] || fail "not on stdout: $1" "--- stdout" "$output" "--- stderr" "${stderr-}"
}

# assert_err TEXT — its stderr contains TEXT, literally.
assert_err() {
  [[ ${stderr-} == *"$1"* ]] || fail "not on stderr: $1" "--- stdout" "$output" "--- stderr" "${stderr-}"
}

# wait_until SECONDS CMD… — polls until CMD succeeds. Be generous: on a busy machine all takes 50 times longer.
wait_until() {
  local end=$((SECONDS + $1))
  until "${@:2}"; do
    ((SECONDS < end)) || fail "still not after $1 s: ${*:2}" || return
    sleep 0.05
  done
}

# --- after each test -------------------------------------------------------------------------------------

# clean_host — removes what a test made on the host and proves that the host is as setup_suite left it.
clean_host() {
  [[ -z ${RIG_NO_HOST-} ]] || return 0
  stop_capture
  [[ -n ${RIG_NO_DOCKER-} ]] || docker ps --all --quiet | xargs --no-run-if-empty docker rm --force > /dev/null
  if [[ -n ${CONTAINERS_CONF-} ]]; then
    on_host podman pod rm --all --force --time 0 > /dev/null
    # Podman removes them side by side, and fails where one uses the network of another.
    wait_until 60 on_host podman rm --all --force --time 0 > /dev/null 2>&1
  fi
  if [[ -e $RIG_DIR/lxc ]]; then
    on_host sh -c 'lxc-ls -1 | xargs --no-run-if-empty --max-args 1 lxc-destroy --force --name' > /dev/null
  fi
  # shellcheck disable=SC2016 # expanded on the host
  on_host sh -c '
    for ns in $(ls /run/netns 2> /dev/null); do ip netns del "$ns" 2> /dev/null || rm -f "/run/netns/$ns"; done
    ip -o link | cut -d " " -f 2 | sed "s/[:@].*//; /^lo$/d; /^eth0$/d; s/^/link del dev /" | ip -force -batch - 2> /dev/null
    true'
  is_fresh && return
  rig_wire
  wait_until 20 is_fresh || assert_same_state "$(< "$RIG_DIR/fresh.json")" "$(host_state)"
}

# is_fresh — true when the host is as setup_suite left it.
is_fresh() {
  [[ $(host_state) == "$(< "$RIG_DIR/fresh.json")" ]]
}

# rig_wire — (re)makes the cable between host and LAN, with its addresses and the host's default route.
rig_wire() {
  on_host ip link del dev eth0 2> /dev/null || true
  on_host ip link add dev eth0 address 02:77:00:00:00:10 type veth peer name lan0 address 02:77:00:00:00:01 netns "$LAN_NS"
  on_lan ip -batch - <<< $'link set dev lo up\naddr add 192.168.77.1/24 dev lan0\nlink set dev lan0 up'
  on_host ip -batch - <<< $'link set dev lo up\naddr add 192.168.77.10/24 dev eth0\nlink set dev eth0 up
    route add default via 192.168.77.1'
}
