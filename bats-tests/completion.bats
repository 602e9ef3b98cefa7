#!/usr/bin/env bats
# Completion in the shells themselves: somebody types into a terminal, presses TAB, and reads the screen.

load rig

setup() {
  need_docker
  need tmux tmux
  export HOME=$BATS_TEST_TMPDIR/home BIN=$BATS_TEST_TMPDIR/bin
  mkdir -p "$HOME" "$BIN"
  ln -s "$PIPEWORK" "$BIN/pipework"
  # fish completes for programs that are there; whose sudo it is does not matter to it.
  printf '#!/bin/sh\nexec "$@"\n' > "$BIN/sudo"
  chmod +x "$BIN/sudo"
}

teardown() {
  tmux -S "$BATS_TEST_TMPDIR/tmux" kill-server 2> /dev/null || true
  clean_host
}

# --- a terminal ------------------------------------------------------------------------------------------

# open_shell CMD… — starts CMD in a terminal of 150 columns on the rig's host, and waits for its prompt `> `.
open_shell() {
  on_host env -u NODE_EXTRA_CA_CERTS -u TMUX PATH="$BIN:$PATH" LC_ALL=C.UTF-8 TERM=xterm \
    tmux -f /dev/null -S "$BATS_TEST_TMPDIR/tmux" new-session -d -x 150 -y 60 "$@" 3>&- 4>&-
  wait_until "${PATIENCE:-60}" on_screen '> '
}

screen() { tmux -S "$BATS_TEST_TMPDIR/tmux" capture-pane -p -J; }

# on_screen TEXT — true when the screen shows TEXT, blanks as they are.
on_screen() { [[ $(screen) == *"$1"* ]]; }

# type_line KEYS… — takes what is there away and types: words as they are, TAB and Enter as keys.
type_line() {
  local key keys=()
  for key in "$@"; do
    case $key in
      TAB | Enter | C-c | C-u | C-l) keys=("$key") ;;
      *) keys=(-l -- "$key") ;;
    esac
    tmux -S "$BATS_TEST_TMPDIR/tmux" send-keys "${keys[@]}"
  done
}

# expect_screen TEXT… — waits until the screen shows each TEXT.
expect_screen() {
  local text
  for text in "$@"; do wait_until "${PATIENCE:-60}" on_screen "$text" || fail "'$text' does not come; the screen is:" "$(screen)"; done
}

# try LINE TEXT… — on a clean screen: LINE and TAB, and then the screen has each TEXT.
try() {
  clear_line
  wait_until "${PATIENCE:-60}" is_clean
  type_line "$1" TAB
  expect_screen "${@:2}"
}

# clear_line — away with what is typed. In fish Ctrl-C ends its list, too; bash would hear that late, in the next line.
clear_line() {
  [[ $BATS_TEST_DESCRIPTION != fish* ]] || type_line C-c
  type_line C-u C-l
}

is_clean() { [[ $(screen | tr -d '\n' | tr -s ' ') =~ ^'>'' '?$ ]]; }

# absent TEXT… — none of them is on the screen.
absent() {
  local text
  for text in "$@"; do ! on_screen "$text" || fail "'$text' is on the screen:" "$(screen)"; done
}

# --- what every shell has to do --------------------------------------------------------------------------

# furnish — a host with guests of three kinds, a bridge with an address and one with an odd name.
furnish() {
  start_guest web
  start_guest web-2
  start_guest halted
  start_guest hosted --network host
  stop_guest halted
  netns_guest blue
  on_host ip link add br7 type bridge
  on_host ip address add 10.7.0.1/24 dev br7
  on_host ip link set dev br7 up
  on_host ip link add 'br&(8)' type bridge
  pw br7 netns:blue 10.7.0.2/24@10.7.0.1 --no-probe
  pw completion install --user
}

# in_every_shell — the TABs that each shell is asked for; KEEP is what it puts before an odd character.
in_every_shell() {
  local id
  id=$(docker inspect --format '{{.Id}}' web)
  # the first word: interfaces, keywords, commands; a NIC by its address
  try 'pipework ' br7 eth0 mac:02:77:00:00:00:10 dummy disconnect netns completion
  absent veth1pl __complete
  try 'pipework mac:' 'mac:02:77:00:00:00:10 '
  try 'pipework disc' 'pipework disconnect '
  # guests that can be used, and no others
  try 'pipework br7 ' web web-2 netns:blue
  absent halted hosted
  try 'pipework br7 --wait-guest 5 hal' 'pipework br7 --wait-guest 5 halted '
  try 'pipework br7 netns:b' 'pipework br7 netns:blue '
  try "pipework br7 ${id:0:6}" "pipework br7 ${id:0:12} "
  # the next free address, with prefix and gateway; leases; none
  try 'pipework br7 web 1' 'pipework br7 web 10.7.0.3/24@10.7.0.1 '
  try 'pipework br7 web ' 10.7.0.3/24@10.7.0.1 dhcp 0/0
  # options by context and their values
  try 'pipework br7 web 0/0 --met' 'pipework br7 web 0/0 --metric '
  try 'pipework eth0 --mode pas' 'pipework eth0 --mode passthru '
  try 'pipework eth0 --kind=ipv' 'pipework eth0 --kind=ipvlan '
  try 'pipework ls --' --json
  absent --metric --mode
  # the next free interface; disconnect knows what is attached
  try 'pipework br7 netns:blue 0/0 -i ' eth2 eth1
  try 'pipework disconnect ' netns:blue
  try 'pipework disconnect netns:blue ' 'pipework disconnect netns:blue eth1 '
  # sudo in front
  try 'sudo pipework disc' 'sudo pipework disconnect '
  # ip's own completion, and that of the command
  try 'pipework route web flu' 'pipework route web flush '
  try 'pipework exec web pipewor' 'pipework exec web pipework '
  # an odd name is quoted, and what TAB has written does run
  try 'pipework br' br7 8
  try 'pipework br\&' 'pipework br\&\(8\) '
  type_line 'web-' TAB
  expect_screen 'pipework br\&\(8\) web-2 '
  type_line '0/0' Enter
  expect_screen 'web-2 has eth1 on br&(8), without an address'
  assert_json "$(on_host ip -j link show master 'br&(8)')" 'length == 1'
  pw disconnect web-2 -q
}

# without_docker — what still works where Docker is gone, or hears and says nothing; no error, no waiting.
without_docker() {
  clear_line
  type_line "${1//@/unix:///nowhere}" Enter
  try 'pipework br7 netns:b' 'pipework br7 netns:blue '
  clear_line
  type_line "${1//@/unix://$RIG_DIR/silent.sock}" Enter
  try 'pipework br7 netns:b' 'pipework br7 netns:blue '
  try 'pipework disc' 'pipework disconnect '
  absent Docker rror
}

start_silence() {
  [[ -S $RIG_DIR/silent.sock ]] || rig_daemon silence node -e 'require("net").createServer().listen(process.argv[1])' "$RIG_DIR/silent.sock"
  wait_until 30 test -S "$RIG_DIR/silent.sock"
}

# write_rc FILE [LINE] — what makes bash show all of its list at once.
write_rc() {
  cat > "$1" << END
PS1='> '
bind 'set show-all-if-ambiguous on'; bind 'set completion-query-items 0'; bind 'set bell-style none'; bind 'set page-completions off'
. /usr/share/bash-completion/bash_completion
${2-}
END
}

@test "bash" {
  furnish
  start_silence
  write_rc "$HOME/rc"
  open_shell bash --noprofile --rcfile "$HOME/rc"
  in_every_shell
  without_docker 'export DOCKER_HOST=@'
}

@test "zsh, which also says what each word is" {
  need zsh zsh
  furnish
  start_silence
  cat > "$HOME/.zshrc" << 'END'
PS1='> '
unsetopt beep list_ambiguous
fpath+=(~/.zfunc)
autoload -Uz compinit && compinit -u -D
END
  open_shell zsh -d
  in_every_shell
  try 'pipework br' 'br7' '-- bridge, up, MTU 1500, 10.7.0.1/24'
  without_docker 'export DOCKER_HOST=@'
}

@test "fish, which also says what each word is" {
  need fish fish
  furnish
  start_silence
  mkdir -p "$HOME/.config/fish"
  cat > "$HOME/.config/fish/config.fish" << 'END'
function fish_prompt; echo -n '> '; end
function fish_right_prompt; end
set -g fish_greeting
set -g fish_autosuggestion_enabled 0
END
  open_shell fish
  in_every_shell
  try 'pipework br' 'br7' 'bridge, up, MTU 1500, 10.7.0.1/24'
  without_docker 'set -gx DOCKER_HOST @'
}

@test "guests of Podman and LXC, bridges of Open vSwitch; a Docker elsewhere" {
  need ovs-vsctl openvswitch-switch
  need_podman
  need_lxc
  netns_guest blue
  netns_guest b.l-u_e+
  start_podman_guest pod1
  start_lxc_guest box
  start_ovs
  on_host ovs-vsctl --timeout=5 --no-wait add-br ovs1 -- set bridge ovs1 datapath_type=netdev
  on_host ip link add br7 type bridge
  pw completion install --user -q
  write_rc "$HOME/rc"
  open_shell bash --noprofile --rcfile "$HOME/rc"
  try 'pipework ov' 'pipework ovs1 '
  try 'pipework br7 ' lxc:box netns:blue podman:
  try 'pipework br7 podman:' 'pipework br7 podman:pod1 '
  try 'pipework br7 lxc:' 'pipework br7 lxc:box '
  try 'pipework br7 netns:b.' 'pipework br7 netns:b.l-u_e+ '
  # what stands still is done without
  stop_ovs
  try 'pipework br' 'pipework br7 '
  clear_line
  type_line 'export DOCKER_HOST=ssh://nobody@192.0.2.1' Enter
  try 'pipework br7 lxc:' 'pipework br7 lxc:box '
  absent rror nobody@192.0.2.1:
}

@test "an ordinary user is offered what he may read, and is told nothing" {
  local place=/run/anybody
  start_guest web
  start_guest hidden
  netns_guest blue
  on_host ip link add br7 type bridge
  on_host ip address add 10.7.0.1/24 dev br7
  on_host ip link set dev br7 up
  pw br7 netns:blue 10.7.0.2/24@10.7.0.1 --no-probe -q
  pw br7 web 10.7.0.3/24 --no-probe -q
  # Where bats and the clone are, others may not look.
  on_host install -d -m 755 "$place"
  on_host install -d -o 65534 -m 755 "$place/home"
  on_host install -m 755 "$PIPEWORK" "$place/pipework"
  write_rc "$BATS_TEST_TMPDIR/rc" ". $place/completion"
  "$PIPEWORK" completion bash > "$BATS_TEST_TMPDIR/completion"
  on_host install -m 644 "$BATS_TEST_TMPDIR/rc" "$BATS_TEST_TMPDIR/completion" "$place/"
  BIN=$place HOME=$place/home open_shell setpriv --reuid 65534 --regid 65534 --clear-groups \
    bash --noprofile --rcfile "$place/rc"
  clear_line
  # Who may not speak to Docker sees no containers but those that have a link in the host.
  # shellcheck disable=SC2016 # expanded there
  type_line 'test -w ${DOCKER_HOST#unix://} || id -u' Enter
  expect_screen 65534
  try 'pipework br' 'pipework br7 '
  try 'pipework br7 ' web netns:blue
  absent hidden enied rror
  try 'pipework br7 netns:blue 1' 'pipework br7 netns:blue 10.7.0.4/24@10.7.0.1 '
  try 'pipework disconnect netns:blue ' 'pipework disconnect netns:blue eth1 '
  try 'pipework ls w' 'pipework ls web '
  absent enied rror
  on_host rm -rf "$place"
}
