#!/bin/sh
# shellcheck shell=dash
# Starts, supervises and stops one DHCP client. The script is in the client's directory.
#
#   sh keep --start NETNS GUEST IFNAME HOSTEND PROGRAM LIMIT NODE PIPEWORK COMMAND…
#   sh keep --stop
#
# NETNS     a name in /run/netns, which is only needed during the start
# GUEST     the path of the guest's network namespace while the guest lives
# HOSTEND   the host end of the link, which may be a bridge port
# PROGRAM   udhcpc, dhclient, dhcpcd or image
# LIMIT     half seconds that the client may run without a lease
# COMMAND   the client; the word "$directory/hook" is the path of its hook
#
# A running client keeps its namespace, and the link in it, alive after the guest has stopped. So this script checks
# twice a second that GUEST still is the namespace that it has open. It is a shell because Node needs 40 MB of memory.
directory=${0%/*}
child=

# start_time PID: sets $started, which distinguishes processes with the same PID; empty for a zombie (proc(5)).
start_time() {
  started=
  { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 0
  # shellcheck disable=SC2086 # split into fields
  set -- ${stat##*) }
  [ "$1" = Z ] || started=${20}
}

is_session_leader() {
  read -r stat < "/proc/$$/stat"
  # shellcheck disable=SC2086 # split into fields
  set -- ${stat##*) }
  [ "$4" = "$$" ]
}

is_running() {
  read -r owner < "$directory/keeper" && start_time "${owner%-*}" && [ "$owner" = "${owner%-*}-$started" ]
} 2> /dev/null

has_link() {
  [ "/proc/$child/ns/net" -ef "/proc/$me/fd/9" ] || return 0
  while read -r name _; do [ "$name" != "$ifname:" ] || return 0; done < "/proc/$child/net/dev"
  return 1
} 2> /dev/null

children() { cat "/proc/$1/task/$1/children"; }

remove_container() {
  [ "$program" != image ] || docker rm --force "pipework-dhcp-${directory##*/}" > /dev/null 2>&1
}

run_client() {
  [ "$program" != image ] || exec "$@" 9<&-
  # The client dies with this script, however that ends.
  exec nsenter --net="/proc/$me/fd/9" setpriv --pdeathsig KILL "$@" 9<&-
}

renew() {
  clients=$child
  # dhcpcd runs below unshare and dhcpcd-mounts.sh.
  # shellcheck disable=SC2046 # one word for each child
  [ "$program" != dhcpcd ] || clients=$(children $(children "$child"))
  # shellcheck disable=SC2086
  kill -USR1 $clients
}

apply_event() {
  mv "$directory/event" "$directory/taken"
  "$node" "$pipework" __dhcp apply "$directory" &
  wait "$!"
}

stop() {
  trap '' TERM
  [ -z "$child" ] || { kill -KILL "$child"; wait "$child"; }
  remove_container
  exit 0
}

# In the background: a sleep in the foreground would delay signals, and keep the namespace open.
pause() {
  sleep "$1" 9<&- &
  wait "$!"
}

tick() {
  pause 0.5
  { [ "$guest" -ef "/proc/$me/fd/9" ] && has_link; } || stop
}

# A packet is lost on a port that does not forward yet (spanning tree), and clients retry only after seconds.
wait_for_port() {
  tries=100
  while read -r state < "/sys/class/net/$host_end/brport/state" && [ "$state" != 3 ] && [ "$((tries -= 1))" -gt 0 ]; do
    pause 0.05
  done 2> /dev/null
}

# Handles events of the client and renews short leases, until the client ends.
attend_client() {
  ticks=0
  while kill -0 "$child" 2> /dev/null; do
    tick
    ticks=$((ticks + 1))
    if [ -e "$directory/lease" ]; then
      { read -r every < "$directory/renew" && [ "$((ticks % every))" -eq 0 ] && renew; } 2> /dev/null
      [ ! -e "$directory/event" ] || apply_event
    elif [ "$ticks" -gt "$limit" ]; then
      stop
    fi
  done
}

supervise() {
  guest=$1 ifname=$2 host_end=$3 program=$4 limit=$5 node=$6 pipework=$7
  shift 7
  exec < /dev/null >> "$directory/log" 2>&1
  # $$ is the caller's process in a subshell.
  read -r me _ < /proc/self/stat
  export PIPEWORK_DHCP="$directory"
  hook=$directory/hook
  # Debian mounts /run with noexec.
  [ -x "$hook" ] || { mkdir -p /var/lib/pipework && cp "$hook" /var/lib/pipework/dhcp-hook && hook=/var/lib/pipework/dhcp-hook; }
  for word; do
    shift
    case $word in
    "$directory/hook") word=$hook ;;
    "$directory/hook:$directory/hook:ro") word=$hook:$hook:ro ;;
    esac
    set -- "$@" "$word"
  done
  trap stop TERM
  wait_for_port
  delay=1
  while :; do
    run_client "$@" &
    child=$!
    start_time "$child"
    echo "$child-$started" > "$directory/pid"
    attend_client
    child=
    remove_container
    [ -e "$directory/lease" ] || { : > "$directory/failed"; exit 1; }
    # The client had a lease and was killed or crashed: restart it, with a longer delay each time it does not last.
    [ "$ticks" -lt 120 ] || delay=1
    ticks=0
    while [ "$ticks" -lt "$((delay * 2))" ]; do
      tick
      ticks=$((ticks + 1))
    done
    [ "$delay" -ge 60 ] || delay=$((delay * 2))
  done
}

# A session and environment of its own. Docker's client needs the environment to find its daemon.
run_detached() {
  [ "$4" != image ] || exec setsid sh "$0" --run "$@"
  exec setsid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C PIPEWORK=alone sh "$0" --run "$@"
}

stop_running() {
  is_running || exit 0
  kill "${owner%-*}"
  tries=200
  while is_running; do
    [ "$((tries -= 1))" -gt 0 ] || { kill -KILL "${owner%-*}"; exit 0; }
    sleep 0.02
  done
  exit 0
}

start() {
  is_running && exit 0
  for old in event failed lost renew; do [ ! -e "$directory/$old" ] || rm -f "$directory/$old"; done
  : > "$directory/log"
  # Opened before the supervisor is recorded: pipework enters the namespace through this descriptor.
  exec 9< "/run/netns/$1"
  shift
  # pipework itself already starts this script in a session and environment of its own.
  if is_session_leader && [ "${PIPEWORK-}" = alone ]; then supervise "$@" & else run_detached "$@" & fi
  start_time "$!"
  echo "$!-$started" > "$directory/keeper"
}

umask 077
action=$1
shift
case $action in
--run) supervise "$@" ;;
--stop) stop_running ;;
--start) start "$@" ;;
esac
