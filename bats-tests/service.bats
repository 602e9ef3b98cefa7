#!/usr/bin/env bats
# pipework service: the unit, and a real systemd that runs it.

load rig
load promise
load dhcp
load watching

setup() {
  need_host
  need systemctl systemd
}

teardown() {
  if [[ -n ${INIT-} ]]; then
    # What it stops in order leaves no /tmp of its own on the machine.
    booted timeout 60 systemctl stop pipework 2> /dev/null || true
    # The first process of a namespace hears no SIGTERM, and takes all others with it.
    kill -KILL "$INIT"
  fi
  [[ ! -e $RIG_DIR/systemd.pid ]] || rig_stop systemd
  on_host rm -rf /run/systemd /run/rig
  dhcp_teardown
}

# start_systemd — a systemd as first process of a host like the rig's, with no units but those of the test.
start_systemd() {
  cat > "$BATS_TEST_TMPDIR/init" << 'END'
#!/bin/sh -e
mount -t proc proc /proc
mount -t tmpfs units /usr/lib/systemd/system
mount -t tmpfs units /etc/systemd/system
cd /usr/lib/systemd/system
for target in sysinit basic multi-user network shutdown default; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" > "$target.target"
done
# They stand for the real ones: what counts here is who starts, ends and waits for whom.
for engine in docker podman; do
  printf '[Unit]\nBefore=after-docker.target\n[Service]\nExecStart=sleep 2147483\n' > "$engine.service"
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=rig PATH="$PATH" /usr/lib/systemd/systemd --system --unit=default.target --log-target=console
END
  # In cgroups of the rig's: it shall see no others.
  local hierarchy
  mkdir -p /sys/fs/cgroup/unified 2> /dev/null || true
  for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [[ ! -e $hierarchy/cgroup.controllers ]] || break
  done
  mkdir -p "$hierarchy/${RIG_DIR##*/}/systemd"
  # shellcheck disable=SC2016 # expanded in there
  rig_daemon systemd sh -c 'echo $$ > "$0/cgroup.procs" && exec unshare --pid --fork --kill-child --mount --propagation slave --cgroup --uts --ipc \
    sh "$1"' "$hierarchy/${RIG_DIR##*/}/systemd" "$BATS_TEST_TMPDIR/init"
  on_host mkdir -p /run/rig
  on_host install -m 755 "$PIPEWORK" /run/rig/pipework
  wait_until 60 systemd_runs || fail "$(< "$RIG_DIR/systemd.log")"
}

# systemd_runs — sets INIT, its process as seen from here.
systemd_runs() {
  INIT=$(pgrep -P "$(pgrep -P "$(< "$RIG_DIR/systemd.pid")" -x unshare || cat "$RIG_DIR/systemd.pid")" -x systemd) &&
    booted systemctl is-system-running > /dev/null 2>&1
}

# booted CMD… — runs CMD where that systemd is.
booted() {
  nsenter --target "$INIT" --mount --pid --net env -C "$PWD" -u NODE_EXTRA_CA_CERTS -u DOCKER_HOST "$@"
}

# own_etc — an empty /etc/pipework, which is nobody else's.
own_etc() {
  mkdir -p /etc/pipework
  booted mount -t tmpfs tmpfs /etc/pipework
}

# property NAME — what systemd says of the service.
property() {
  booted systemctl show pipework --property="$1" --value
}

# service WORD… — runs `pipework service` there, from where a service can see it: /tmp is not its own.
service() {
  run --separate-stderr booted /run/rig/pipework service "$@"
}

# watch_words — the words of the watch that the service runs.
watch_words() {
  booted sh -c "tr '\0' '|' < /proc/$(property MainPID)/cmdline" | cut -d '|' -f 3-
}

# is_property NAME VALUE — it is that.
is_property() {
  [[ $(property "$1") == "$2" ]]
}

# is_leased — the guest has an address of the LAN's server.
is_leased() {
  [[ $(addresses leased) == 192.168.77.* ]]
} 2> /dev/null

# has_not_changed — there is no unit, and nothing runs.
has_not_changed() {
  booted test ! -e /etc/systemd/system/pipework.service || fail 'there is a unit'
  is "$(property LoadState) $(property ActiveState) $(booted find /etc/systemd/system -name 'pipework*')" 'not-found inactive '
}

@test "without systemd, it says so, and what to run instead" {
  run_pw service install --labels
  assert_exit 1
  assert_err 'systemd is not running here'
  assert_err "$PIPEWORK watch"
  run_pw service
  assert_exit 2
  run_pw service restart
  assert_exit 2
  assert_err "'restart'"
}

@test "install, status and remove: all or nothing, at every step; and twice is once" {
  local n
  start_systemd
  service status
  assert_exit 1
  assert_out 'not installed'
  service install
  assert_exit 2
  assert_err 'there is nothing to watch'
  service install lan.pipework
  assert_exit 2
  assert_err "'lan.pipework' is not an absolute path"
  service install /run/rig/none
  assert_exit 2
  service install --labels /tmp
  assert_exit 2
  assert_err "a service does not see '/tmp'"
  install -m 755 "$PIPEWORK" "$BATS_TEST_TMPDIR/pipework"
  run --separate-stderr booted "$BATS_TEST_TMPDIR/pipework" service install --labels
  assert_exit 2
  assert_err 'a service does not see'
  echo 'br1 netns:blue 192.168.1.50/24' > "$BATS_TEST_TMPDIR/lan"
  booted cp "$BATS_TEST_TMPDIR/lan" /run/rig/lan.pipework
  service --dry-run install --now /run/rig/lan.pipework
  assert_exit 0
  has_not_changed
  for ((n = 0; n < 4; n += 1)); do
    run --separate-stderr booted env PIPEWORK_FAIL_AFTER="$n" /run/rig/pipework service install --now /run/rig/lan.pipework
    assert_exit 1
    has_not_changed
  done
  # what --dry-run prints does the same
  service --dry-run install /run/rig/lan.pipework
  booted sh -eu <<< "$output"
  service install /run/rig/lan.pipework
  assert_exit 0
  assert_out 'already; nothing changed'
  is "$(property UnitFileState) $(booted stat -c %a /etc/systemd/system/pipework.service)" 'enabled 644'
  service --json install --now /run/rig/lan.pipework
  assert_json "$output" '.ok and .changed and (.steps | length == 1)'
  service status
  assert_exit 0
  assert_out 'pipework.service: active (running), starts with the machine; 1 attachment'
  service --json install --now /run/rig/lan.pipework
  assert_json "$output" '.changed | not'
  # systemd itself has nothing against it
  run --separate-stderr booted systemd-analyze verify /etc/systemd/system/pipework.service
  assert_exit 0
  is "$output${stderr-}" ''
  booted systemd-analyze security --offline=true --threshold=50 --no-pager /etc/systemd/system/pipework.service | tail -n 1
  for ((n = 0; n < 4; n += 1)); do
    run --separate-stderr booted env PIPEWORK_FAIL_AFTER="$n" /run/rig/pipework service remove
    assert_exit 1
    is "$(property ActiveState) $(property UnitFileState)" 'active enabled'
  done
  # words that mean something to systemd reach the watch as they are
  # shellcheck disable=SC1003,SC2016 # as it stands
  service install --now --labels --allow 'br*' --allow 'a$b%n"c\' /run/rig/lan.pipework
  assert_exit 0
  # shellcheck disable=SC2016
  is "$(watch_words)" 'watch|/run/rig/lan.pipework|--labels|--allow=br*|--allow=a$b%n"c\|'
  # one that cannot be: before anything is changed, or with what ran before running again
  booted sh -c "echo 'br1 netns:blue \${ONLY_HERE}/24' > /run/rig/env.pipework"
  service install --now /run/rig/env.pipework
  assert_exit 2
  assert_err "/run/rig/env.pipework:1:16: '\${ONLY_HERE}' is empty"
  run --separate-stderr booted env ONLY_HERE=192.168.1.50 /run/rig/pipework service install --now /run/rig/env.pipework
  assert_exit 1
  assert_err 'pipework.service does not start'
  is "$(property ActiveState) $(property NeedDaemonReload) $(watch_words | cut -d '|' -f 2)" 'active no /run/rig/lan.pipework'
  service remove
  assert_exit 0
  has_not_changed
  service remove
  assert_exit 0
  assert_out 'nothing changed'
  # the examples of help, as they stand
  local line
  own_etc
  booted sh -c 'cp /run/rig/lan.pipework /etc/pipework/'
  while IFS= read -r line; do
    booted env PATH="/run/rig:$PATH" sh -c "$line" > "$BATS_TEST_TMPDIR/said" 2>&1 || fail "$line" "$(< "$BATS_TEST_TMPDIR/said")"
  done < <("$PIPEWORK" help service --json | jq -r '.examples[].line')
  has_not_changed
}

@test "systemd runs it confined to what it needs; reloads it, brings it back after a crash, and with Docker" {
  local before pid
  # First, because it makes /run/netns one of which others see the new mounts, as it is on a host.
  need dnsmasq dnsmasq-base
  need dhcpcd dhcpcd5
  netns_guest blue
  netns_guest leased
  guard_resolv_conf
  lan_bridge
  serve_dhcp
  start_systemd
  # As a container's: a process of another user, with a network of its own.
  # shellcheck disable=SC2016 # expanded in there
  booted unshare --net sh -c 'echo $$ > /run/rig/pid; exec setpriv --reuid 1234 --regid 1234 --clear-groups sleep 2147483' \
    3>&- 4>&- &
  wait_until 30 booted test -s /run/rig/pid
  pid=$(booted cat /run/rig/pid)
  booted sh -c "printf '%s\n' 'br1 netns:blue 192.168.1.50/24@192.168.1.1' 'br1 pid:$pid 192.168.1.51/24,fd00::51/64' \
    'br1 netns:leased dhcpcd' > /run/rig/lan.pipework"
  service install --now /run/rig/lan.pipework
  assert_exit 0
  wait_until 60 has blue eth1 192.168.1.50/24
  wait_until 60 booted nsenter --net="/proc/$pid/ns/net" ping -c 1 -W 2 -q 192.168.1.50
  wait_until 60 booted nsenter --net="/proc/$pid/ns/net" ip address show dev eth1 | grep -qF fd00::51/64
  # whose client needs more of the system than the others
  wait_until 60 is_leased
  wait_until 60 is_property StatusText '3 attachments'
  # it may not do what it does not need
  is "$(booted sh -c "sed -n 's/^NoNewPrivs:\t//p; s/^Seccomp:\t//p' /proc/$(property MainPID)/status" | paste -sd ' ')" '1 2'
  booted sh -c "echo 'br1 -i eth2 netns:blue 192.168.1.60/24' >> /run/rig/lan.pipework"
  booted systemctl reload pipework
  wait_until 60 has blue eth2 192.168.1.60/24
  wait_until 60 is_property StatusText '4 attachments'
  # a crash
  booted kill -KILL "$(property MainPID)"
  wait_until 60 is_property NRestarts 1
  wait_until 60 is_property ActiveState active
  on_host ip netns del blue
  netns_guest blue
  wait_until 60 has blue eth1 192.168.1.50/24
  # with Docker, which does not wait for it
  booted systemctl start docker
  before=$(property InvocationID)
  booted systemctl restart docker
  wait_until 60 is_property ActiveState active
  [ "$(property InvocationID)" != "$before" ]
  booted systemctl stop docker
  wait_until 60 is_property ActiveState inactive
  has blue eth1 192.168.1.50/24
  booted systemctl start docker
  wait_until 60 is_property ActiveState active
  # with Podman
  booted systemctl start podman
  booted systemctl stop podman
  wait_until 60 is_property ActiveState inactive
  booted systemctl start podman
  wait_until 60 is_property ActiveState active
  service remove
  assert_exit 0
  booted /run/rig/pipework --quiet disconnect netns:leased
  assert_resolv_conf
  has blue eth1 192.168.1.50/24
  on_host test ! -e /run/pipework/watch.lock
}
