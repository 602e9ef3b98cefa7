#!/usr/bin/env bats
# Help and the manual page: what they show on a screen, and that every example of theirs runs.

load rig
load watching

setup() { need_docker; }

teardown() {
  [[ ! -e $RIG_DIR/router.pid ]] || rig_stop router
  tmux -S "$BATS_TEST_TMPDIR/tmux" kill-server 2> /dev/null || true
  clean_host
}

# at_width COLUMNS ARG… — sets OUT to what pipework prints on a terminal of that width, colour and all.
at_width() {
  local done=$BATS_TEST_TMPDIR/done.$1
  tmux -f /dev/null -S "$BATS_TEST_TMPDIR/tmux" new-session -d -x "$1" -y 400 -s "w$1" \
    "env -u NO_COLOR LC_ALL=C.UTF-8 TERM=xterm '$PIPEWORK' ${*:2} > /dev/tty; touch '$done'; sleep 1000" 3>&- 4>&-
  wait_until 60 test -e "$done"
  # One moment for tmux to draw what is there.
  sleep 0.2
  OUT=$(tmux -S "$BATS_TEST_TMPDIR/tmux" capture-pane -p -e -t "w$1")
  tmux -S "$BATS_TEST_TMPDIR/tmux" kill-session -t "w$1"
}

@test "help fits the terminal, in 80 columns and in 40; bold there, and plain in a pipe" {
  need tmux tmux
  at_width 40 help help
  # Blanks at the end of a line are the terminal's.
  [[ $OUT == *$'\e[1mExamples:'* ]]
  diff -u - <(sed 's/\x1b\[[0-9;]*m//g; s/ *$//' <<< "$OUT") << 'END'
pipework help [command]
pipework help --man

Show what a command does, with its
options and with examples that run.

Options:
      --man      print the manual page
                 instead
      --json     print one JSON
                 document, for success
                 and for failure
  -h, --help     show this help
  -V, --version  show the version

Examples:
  pipework help
      the main form, and a list of
      commands
  pipework help disconnect
      one command
  pipework help --man
      the manual page pipework(8): pipe
      it into man -l -
END
  at_width 80 help help
  [[ $OUT == *'
  -h, --help     show this help
'* ]] || fail "$OUT"
  run_pw help disconnect
  assert_exit 0
  [[ $output != *$'\e'* ]]
  # without UTF-8 nothing but ASCII
  run env LC_ALL=C "$PIPEWORK" help
  [[ $output == *'[,...]'* ]]
  [[ -z $(LC_ALL=C tr -d '\0-\177' <<< "$output") ]]
}

@test "the manual page is without fault, and is the one of this tool" {
  need man man-db
  need groff groff
  local page=${PIPEWORK%/*}/pipework.8
  diff "$page" <("$PIPEWORK" help --man)
  run groff -man -ww -z -Tutf8 "$page"
  [[ $status == 0 && -z $output ]] || fail "$output"
  run env MANWIDTH=80 LC_ALL=C.UTF-8 man --warnings --local-file "$page"
  [[ $status == 0 && $output == *'EXIT STATUS'* && $output != *'warning:'* ]] || fail "$output"
  # only what is for copying may be longer than a line
  [[ -z $(awk 'length > 80 && !/^ *pipework /' <<< "$output") ]] || fail "$output"
}

# examples COMMAND… — the lines of their examples.
examples() {
  local word
  for word in "$@"; do "$PIPEWORK" help ${word:+"$word"} --json | jq -r '.examples[].line'; done
}

# type_example LINE — types it on the host; --wait is for the inside of a container.
type_example() {
  local place=on_host status=0
  [[ $1 != 'pipework --wait '* && $1 != 'pipework --wait' ]] || place='in_guest web'
  echo "$1"
  $place env -u NODE_EXTRA_CA_CERTS PATH="$BATS_TEST_TMPDIR/bin:$PATH" timeout --kill-after=40 "${LIMIT:-60}" sh -c "$1" < /dev/null || status=$?
  case "$status $1" in
    0\ *) ;;
    # Who listens to the network does so until he is told to stop.
    124\ *tcpdump*) ;;
    # They found something: after `down` the file differs, and this host has no hardware.
    1\ pipework\ diff\ * | 1\ pipework\ doctor*) ;;
    *) fail "'$1' ends with $status" ;;
  esac
}

# furnish — what the examples speak of: containers web and db, a router, and a place for completions that is nobody's.
furnish() {
  need dnsmasq dnsmasq-base
  cd "$BATS_TEST_TMPDIR" || return
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  ln -s "$PIPEWORK" "$BATS_TEST_TMPDIR/bin/pipework"
  start_guest web
  start_guest db
  netns_guest router
  pw br1 netns:router 192.168.1.1/24 -q
  # For routed:wlan0.
  on_host ip link add wlan0 type veth peer name ap0
  on_host ip link set dev wlan0 up
  on_host ip link set dev ap0 up
  rig_daemon router nsenter --net=/run/netns/router dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --no-ping \
    --dhcp-range=192.168.1.100,192.168.1.150,2m --dhcp-leasefile="$BATS_TEST_TMPDIR/leases" --pid-file=
  printf 'br1 web 192.168.1.10/24@192.168.1.1\nbr1 db 192.168.1.11/24\n' > lan.pipework
  on_host mount -t tmpfs tmpfs /usr/local/share
  on_host mkdir -p /etc/fish
  on_host mount -t tmpfs tmpfs /etc/fish
}

@test "every example of help, and so of the manual page, runs as it stands" {
  local line word
  need_podman
  furnish
  start_podman_guest web
  # VLANs and dummy interfaces need modules that this kernel lacks: uml.bats runs those. Uplinks come below.
  while IFS= read -r line; do
    # Each for itself: some speak of the same address.
    for word in web db podman:web; do pw disconnect "$word" -q; done
    if [[ $line != *' @'* && $line != *' dummy '* && ! $line =~ ^pipework\ br[0-9]+@ ]]; then type_example "$line"; fi
  done < <(examples '')
  for word in $("$PIPEWORK" help --json | jq -r '.commands[]'); do
    case $word in
      disconnect) continue ;; # the last
      # These live on, or take the host's NIC: below. Those of service need systemd: service.bats.
      watch | service | uplink) continue ;;
    esac
    # What the examples before have left is no matter.
    pw br1 web 192.168.1.10/24@192.168.1.1 -q
    pw br2 -i eth2 web 10.0.0.2/24 -q
    while IFS= read -r line; do
      if [[ $line == *tcpdump* ]]; then LIMIT=2 type_example "$line"; else type_example "$line"; fi
    done < <(examples "${word#--}")
  done
  while IFS= read -r line; do type_example "$line"; done < <(examples disconnect)
  rig_stop router
  on_host podman rm --force --time 0 web > /dev/null
  on_host umount /usr/local/share /etc/fish
}

# pending — true when an uplink waits to be confirmed.
pending() { pw uplink ls --json | jq -e '.uplinks[] | select(.state == "pending")' > /dev/null; }

@test "the examples that live on, or that take the host's NIC, run as well" {
  local line before
  start_guest web
  write_lan 'br1 web 192.168.1.10/24@192.168.1.1'
  mkdir -p "$BATS_TEST_TMPDIR/bin" /etc/pipework
  ln -s "$PIPEWORK" "$BATS_TEST_TMPDIR/bin/pipework"
  cd "$BATS_TEST_TMPDIR"
  before=$(host_state)
  while IFS= read -r line; do
    [[ $line =~ ^pipework\ br[0-9]+@ ]] || continue
    type_example "$line"
    pw disconnect web -q
    pw uplink del "$(sed 's/@.*//; s/^pipework //' <<< "$line")" -q
  done < <(examples '')
  while IFS= read -r line; do
    case $line in
      *' @'*) ;; # uml.bats
      *--confirm*)
        pw uplink del br0 -q
        # shellcheck disable=SC2086 # the line is words, as at a prompt
        start_pw ${line#pipework }
        wait_until 60 pending
        ;;
      *' confirm '*)
        type_example "$line"
        wait_pw
        assert_exit 0
        ;;
      *) type_example "$line" ;;
    esac
  done < <(examples uplink)
  assert_same_state "$before" "$(host_state)"
  on_host mount -t tmpfs tmpfs /etc/pipework
  on_host cp "$LAN" /etc/pipework/
  while IFS= read -r line; do
    on_host_exec env -u NODE_EXTRA_CA_CERTS PATH="$BATS_TEST_TMPDIR/bin:$PATH" sh -c "exec $line" \
      > "$BATS_TEST_TMPDIR/pw.out" 2>&1 < /dev/null 3>&- 4>&- &
    PW_PID=$!
    wait_until 60 grep -qE 'Docker.*follows its events' "$BATS_TEST_TMPDIR/pw.out" || fail "$line" "$(< "$BATS_TEST_TMPDIR/pw.out")"
    [[ $line == *--labels* ]] || wait_until 60 has web eth1 192.168.1.10/24
    kill -TERM "$PW_PID"
    wait "$PW_PID"
    pw disconnect web -q
  done < <(examples watch)
  on_host umount /etc/pipework
}

@test "all is written before the end, be it into a pipe that is full and does not wait" {
  # shellcheck disable=SC2016 # Perl's
  perl -e '
    use Fcntl;
    pipe(my $reader, my $writer);
    fcntl($writer, 1031, 4096); # F_SETPIPE_SZ
    fcntl($writer, F_SETFL, O_WRONLY | O_NONBLOCK);
    if (fork == 0) { open(STDOUT, ">&", $writer); close($_) for $reader, $writer; exec @ARGV }
    close($writer);
    select(undef, undef, undef, 0.3);
    print while <$reader>;' "$PIPEWORK" help --man > "$BATS_TEST_TMPDIR/man"
  cmp "$BATS_TEST_TMPDIR/man" "${PIPEWORK%/*}/pipework.8"
}
