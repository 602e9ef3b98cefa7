# shellcheck shell=bash
# Makes the rig (see rig.bash) before the first test and takes it down after the last.
#
# Everything of a run hangs on RIG_DIR: its namespaces are files in RIG_DIR/ns, its daemons have their PIDs
# there, and whoever is in its mount namespace is its process. rig_down needs no more than that directory, so
# three can call it: teardown_suite; a guard that waits for bats to die; and the next run, for one whose
# guard was killed as well.

# shellcheck source=bats-tests/rig.bash
source "${BASH_SOURCE[0]%/*}/rig.bash"

setup_suite() {
  local dir
  for dir in "${TMPDIR:-/tmp}"/pipework-rig.*/; do
    dir=${dir%/}
    # Ours to sweep: a directory, not a link, of this user, whose suite is gone.
    [[ ! -d $dir || -L $dir || ! -O $dir ]] || is_owned "$dir" || rig_down "$dir"
  done

  PIPEWORK=${PIPEWORK:-$(realpath "${BASH_SOURCE[0]%/*}/..")/dist/pipework}
  # Whatever the machine speaks.
  export PIPEWORK LC_ALL=C.UTF-8
  RIG_NO_HOST=$(lacks_for_host)
  export RIG_NO_HOST
  [[ -z $RIG_NO_HOST ]] || return 0
  rig_up_host
  RIG_NO_DOCKER=$(lacks_for_docker)
  export RIG_NO_DOCKER
  [[ -z $RIG_NO_DOCKER ]] || return 0
  rig_up_docker
}

teardown_suite() {
  [[ -z ${RIG_DIR-} ]] || rig_down "$RIG_DIR"
}

# lacks_for_host — prints why there can be no host here, or nothing.
lacks_for_host() {
  local tool
  ((EUID == 0)) || { echo 'the rig needs root'; return; }
  for tool in ip:iproute2 jq:jq nsenter:util-linux ping:iputils-ping; do
    command -v "${tool%:*}" > /dev/null || { echo "${tool%:*} is missing: apt-get install ${tool#*:}"; return; }
  done
  unshare --mount --net mount -t tmpfs tmpfs /run 2> /dev/null || echo 'namespaces cannot be made here: CAP_SYS_ADMIN is missing'
}

# lacks_for_docker — prints why there can be no Docker, or nothing.
lacks_for_docker() {
  local tool
  for tool in dockerd:docker.io docker:docker.io busybox:busybox-static; do
    command -v "${tool%:*}" > /dev/null || { echo "${tool%:*} is missing: apt-get install ${tool#*:}"; return; }
  done
}

# rig_up_host — RIG_DIR, the two namespaces and the cable between them.
rig_up_host() {
  local dir
  # The tag leads scripts/bats to the cgroups of a rig that was killed: they have the directory's name.
  dir=$(mktemp -d "${TMPDIR:-/tmp}/pipework-new.${PIPEWORK_RIG_TAG:+$PIPEWORK_RIG_TAG-}XXXXXX")
  echo "$$ $(started "$$")" > "$dir/owner"
  # Only now under a name that another suite, starting at the same time, would sweep if nobody owned it.
  mv "$dir" "${dir/pipework-new/pipework-rig}"
  dir=${dir/pipework-new/pipework-rig}
  export RIG_DIR=$dir HOST_NS=$dir/ns/host LAN_NS=$dir/ns/lan DOCKER_HOST=unix://$dir/docker.sock

  # The namespaces are bind mounts, so they live without a process and their numbers cannot be reused while
  # RIG_DIR stands. A mount namespace can only be bound where mounts do not propagate, and comes last: it has
  # a copy of the mounts before it, which makes HOST_NS and LAN_NS good in there too.
  mkdir "$dir/ns" "$dir/states"
  mount -t tmpfs rig "$dir/ns"
  mount --make-private "$dir/ns"
  touch "$dir"/ns/{mnt,host,lan}
  unshare --net="$LAN_NS" true
  unshare --net="$HOST_NS" true
  # A sysfs of the new network, with the cgroups that dockerd needs put back into it.
  keep_mounts "$dir/ns/mnt"
  nsenter --net="$HOST_NS" --mount="$dir/ns/mnt" sh -ec '
    mount -t tmpfs -o mode=755 run /run
    mkdir /run/netns /run/lock /run/cgroup
    mount --rbind /sys/fs/cgroup /run/cgroup
    mount -t sysfs sysfs /sys
    mount --move /run/cgroup /sys/fs/cgroup
    rmdir /run/cgroup
    mkdir -p /etc/netns
    mount -t tmpfs -o mode=755 netns /etc/netns'
  rig_wire
  wait_until 30 on_host ping -c 1 -W 1 -q 192.168.77.1 > /dev/null
  host_state > "$dir/fresh.json"
  # Waits for bats in a session of its own, out of the reach of a Ctrl-C or of a killed process group.
  export -f is_owned started rig_down rig_pids rig_stop wait_until gone fail
  # shellcheck disable=SC2016 # expanded by the guard
  setsid bash -c 'while is_owned "$RIG_DIR"; do sleep 1; done; rig_down "$RIG_DIR"' > /dev/null 2>&1 < /dev/null 3>&- 4>&- &
}

# rig_up_docker — dockerd and the one image, busybox, which runs until it is told to end.
rig_up_docker() {
  rig_daemon dockerd dockerd --data-root "$RIG_DIR/data" \
    --host "$DOCKER_HOST" --host unix:///run/docker.sock \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${RIG_DIR##*/}" \
    --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false
  wait_until 60 dockerd_settled
  if ! docker version > /dev/null 2>&1; then
    RIG_NO_DOCKER="dockerd does not start: $(tail -n 1 "$RIG_DIR/dockerd.log")"
    return
  fi
  rig_busybox | docker import --change "CMD $RIG_CMD" - busybox:latest
}

# dockerd_settled — true when dockerd answers or has given up.
dockerd_settled() {
  docker version > /dev/null 2>&1 || gone "$(< "$RIG_DIR/dockerd.pid")"
}

# started PID — when the process started, in ticks: tells it from a later one with its number.
started() {
  local stat
  stat=$(< "/proc/$1/stat")
  # The name, in parentheses, may hold blanks.
  cut -d ' ' -f 20 <<< "${stat##*) }"
}

# is_owned DIR — true while the suite that made DIR runs.
is_owned() {
  local pid ticks
  read -r pid ticks < "$1/owner" && ! gone "$pid" && [[ $(started "$pid") == "$ticks" ]]
} 2> /dev/null

# rig_pids DIR — the processes on the rig's host, and their children: the containers' own.
rig_pids() {
  local mnt pids
  mnt=$(stat -L -c %i "$1/ns/mnt")
  pids=$(find -L /proc/[0-9]*/ns/mnt -inum "$mnt" 2> /dev/null | cut -d / -f 3)
  [[ -z $pids ]] || { echo "$pids"; pgrep -P "$(tr '\n' , <<< "$pids" | sed 's/,$//')"; } || true
}

# rig_down DIR — ends a rig, in order if it can: containers, daemons (last started first), the rest.
rig_down() {
  local RIG_DIR=$1 name pids
  if [[ -S $RIG_DIR/docker.sock ]]; then
    DOCKER_HOST=unix://$RIG_DIR/docker.sock timeout 60 sh -c 'docker ps -aq | xargs -r docker rm -f' > /dev/null 2>&1 || true
  fi
  for name in $(find "$RIG_DIR" -maxdepth 1 -name '*.pid' -printf '%T@ %f\n' | sort -rn | cut -d ' ' -f 2); do
    rig_stop "${name%.pid}" || true
  done
  # Only while the file is the namespace itself does its number say whose processes are the rig's.
  if [[ $(stat -f -c %T "$RIG_DIR/ns/mnt" 2> /dev/null) == nsfs ]]; then
    while pids=$(rig_pids "$RIG_DIR") && [[ -n $pids ]]; do
      # shellcheck disable=SC2086 # one word a PID
      kill -KILL $pids 2> /dev/null || true
      sleep 0.1
    done
  fi
  umount "$RIG_DIR"/ns/{mnt,host,lan} "$RIG_DIR/ns" 2> /dev/null || umount --lazy "$RIG_DIR/ns" 2> /dev/null || true
  find /sys/fs/cgroup -depth -type d -path "*/${RIG_DIR##*/}*" -exec rmdir {} + 2> /dev/null || true
  rm -rf "$RIG_DIR"
}
