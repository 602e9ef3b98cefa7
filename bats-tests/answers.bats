#!/usr/bin/env bats
# What is attached, as a table that fits, by a template, on one page, as a tree and as a picture.

# shellcheck disable=SC2154 # run_pw sets stderr

load rig

setup() {
  need_docker
  export LC_ALL=C.UTF-8
}

teardown() {
  tmux -S "$BATS_TEST_TMPDIR/tmux" kill-server 2> /dev/null || true
  clean_host
}

# furnish — a bridge with an uplink and a stranger's port, a bridge with an odd name, a macvlan, a namespace.
furnish() {
  start_guest web
  netns_guest blue
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1 -l webhost --no-probe -q
  pw eth0 web -i eth2 192.168.77.50/24 --no-probe -q
  on_host ip link add 'br<&>' type bridge
  pw 'br<&>' netns:blue 10.1.2.2/24 -l blue1 -q
  on_host ip link add up0 type veth peer name other0
  on_host ip link set dev up0 master br1 up
}

# at_width COLUMNS ARG… — sets OUT to what pipework prints on a terminal of that width.
at_width() {
  local done=$BATS_TEST_TMPDIR/done.$1
  rm -f "$done"
  on_host tmux -f /dev/null -S "$BATS_TEST_TMPDIR/tmux" new-session -d -x "$1" -y 200 -s "w$1" \
    "env -u NODE_EXTRA_CA_CERTS TERM=xterm '$PIPEWORK' ${*:2} > /dev/tty; touch '$done'; sleep 1000" 3>&- 4>&-
  wait_until 60 test -e "$done"
  sleep 0.2
  OUT=$(tmux -S "$BATS_TEST_TMPDIR/tmux" capture-pane -p -J -t "w$1" | sed 's/ *$//')
  tmux -S "$BATS_TEST_TMPDIR/tmux" kill-session -t "w$1"
}

@test "ls fits a terminal of 80 columns and one of 40; filters and templates choose from it" {
  need tmux tmux
  furnish
  at_width 80 ls
  diff -u - <(printf '%s\n' "$OUT") << 'END'
GUEST       INTERFACE  ADDRESS               ON     HOST END  STATE
netns:blue  eth1       10.1.2.2/24           br<&>  blue1     up
web         eth1       10.1.1.2/24@10.1.1.1  br1    webhost   up
                       fd00::2/64@fd00::1
web         eth2       192.168.77.50/24      eth0   -         up
END
  at_width 40 ls web
  diff -u - <(printf '%s\n' "$OUT") << 'END'
web eth1
  on br1, up
  10.1.1.2/24@10.1.1.1
  fd00::2/64@fd00::1
web eth2
  on eth0, up
  192.168.77.50/24
END
  # nothing but what is copied, and what has no blank, is longer than a line
  local page wide
  on_host ip link set dev br1 down
  for page in 'inspect web' diagram 'doctor br1'; do
    at_width 40 "$page"
    [[ $OUT == *br1* ]] || fail "$page: $OUT"
    wide=$(grep -E '.{41}' <<< "$OUT" | grep -vE '^ *(made by|undo|do:) ' || true)
    [[ -z $wide ]] || fail "$page at 40 columns:" "$wide"
  done
  on_host ip link set dev br1 up
  run_pw ls --filter bridge=br1 --format '{{.Guest}}\t{{.Interface}}\t{{json .Addresses}}'
  assert_exit 0
  [[ $output == $'web\teth1\t"10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1"' ]]
  run_pw ls --filter guest=web --filter guest=netns:blue --filter bridge=eth0 --json
  assert_json "$output" '[.attachments[] | "\(.guest.name) \(.ifname)"] == ["web eth2"]'
  run_pw ls 'br<&>' --format 'table {{.Name}}\t{{.HostEnd}}'
  [[ $output == $'NAME  HOSTEND\nblue  blue1' ]]
  run_pw ls nobody --format '{{.Guest}}'
  [[ $status == 0 && -z $output$stderr ]]
  run_pw ls nobody
  assert_exit 0
  assert_err "nothing is attached to a guest or bridge 'nobody'"
  run_pw webb br1 10.1.1.9/24
  assert_exit 1
  assert_err 'it comes before the guest: pipework br1 web'
  run_pw ls --format '{{.Gest}}'
  [[ $status == 2 && $stderr == *"'.Gest'"*'Did you mean .Guest?'* ]]
  run_pw ls --filter gest=web
  [[ $status == 2 && $stderr == *"'gest=web'"*'guest=web?'* ]]
}

@test "inspect: a guest on one page, as it is and as it should be" {
  furnish
  run_pw inspect web
  assert_exit 0
  [[ $output == 'web  container of Docker, '*', PID '* ]]
  [[ $output == *'made by   pipework br1 -l webhost web 10.1.1.2/24@10.1.1.1,fd00::2/64@fd00::1'* ]]
  [[ $output == *'made by   pipework eth0 -i eth2 web 192.168.77.50/24'* ]]
  [[ $output == *'host end  webhost, up, port of br1'* && $output == *'default via 10.1.1.1 dev eth1'* ]]
  # the undo that it names undoes, and what it says made it makes it again
  local made undo before
  before=$(guest_state web)
  made=$(sed -n 's/^ *made by *pipework \(eth0 .*\)/\1/p' <<< "$output")
  undo=$(sed -n 's/^ *undo *pipework \(.* eth2\)/\1/p' <<< "$output")
  # shellcheck disable=SC2086 # the line is words, as at a prompt
  pw $undo -q
  [[ $(pw ls web --format '{{.Interface}}') == eth1 ]]
  # shellcheck disable=SC2086
  pw $made --no-probe -q
  assert_same_state "$before" "$(guest_state web)"
  # what somebody has taken away is missed
  in_guest web ip address del 10.1.1.2/24 dev eth1
  run_pw inspect web
  [[ $output == *'10.1.1.2/24@10.1.1.1 is missing'* ]]
  run_pw inspect web --json
  assert_json "$output" '.guest.name == "web" and (.attachments | map(.ifname) | sort) == ["eth1", "eth2"]'
  # what there is beside the link: the uplink, what the host has for it, the firewall, the file
  local file=$BATS_TEST_TMPDIR/lan.pipework
  cd "$BATS_TEST_TMPDIR"
  on_host iptables -P FORWARD DROP
  on_host ip link add up1 type veth peer name other1
  on_host ip link set dev up1 up
  pw uplink add br5 up1 --force -q
  echo 'br5 -i eth5 web 10.5.0.2/24@10.5.0.1 --bridge-address 10.5.0.1/24 --nat --publish 8080:80' > lan.pipework
  pw up "$file" -q
  run_pw inspect web
  assert_exit 0
  assert_out '  on        br5, whose uplink is up1'
  assert_out '  the host  has 10.5.0.1/24 on the bridge'
  assert_out '  NAT       with an address of this host, by any interface'
  assert_out '  publish   8080:80'
  assert_out '  from      lan.pipework'
  assert_out "  firewall  drops IPv4 between the ports of 'br1': policy DROP of chain FORWARD"
  on_host sh -eu <<< "$(sed -n 's/^ *fix: //p' <<< "$output" | sort -u)"
  run_pw inspect web --json
  # with what `up` was asked for in the firewall, and with the rule that the page has named
  assert_json "$output" '[.attachments[] | select(.ifname != "eth2") | .firewall, .missing] | unique == [[], ["lets its frames pass"]]'
  on_host nft delete table inet pipework
  run_pw inspect web
  assert_out '  missing   '
  pw disconnect web eth5 -q
  pw uplink del br5 -q
  on_host nft flush ruleset
  # a guest that has stopped, and one that never was
  docker stop -t 0 web > /dev/null
  run_pw inspect web
  assert_exit 0
  [[ $output == *"not shown: the container 'web' is not running"* ]]
  run_pw inspect nobody
  assert_exit 1
}

@test "diagram: a tree, valid DOT and valid SVG, whatever the names" {
  need dot graphviz
  need xmllint libxml2-utils
  furnish
  run_pw diagram
  assert_exit 0
  diff -u - <(printf '%s\n' "$output") << 'END'
br1  bridge, up, MTU 1500
├─ up0      a port that is not pipework's
└─ webhost  web eth1  10.1.1.2/24@10.1.1.1  fd00::2/64@fd00::1

br<&>  bridge, up, MTU 1500
└─ blue1  netns:blue eth1  10.1.2.2/24

eth0  NIC, up, MTU 1500, 192.168.77.10/24
└─ macvlan  web eth2  192.168.77.50/24
END
  LC_ALL=C run_pw diagram
  [[ $output == *$'\n`- webhost  web eth1'* ]]
  pw diagram --svg | xmllint --noout -
  [[ $(pw diagram --svg | xmllint --xpath 'count(//*[local-name()="text"][.="br<&>"])' -) == 1 ]]
  pw diagram --dot | dot -Tplain > "$BATS_TEST_TMPDIR/plain"
  [[ $(grep -c '^edge ' "$BATS_TEST_TMPDIR/plain") == 4 ]]
  run_pw diagram --dot --svg
  assert_exit 2
  # the NIC that pipework has put into a bridge is its uplink, though here it is a veth
  pw disconnect web eth2 -q
  on_host ip link add up1 type veth peer name other1
  on_host ip link set dev up1 up
  pw uplink add br1 up1 --force -q
  run_pw diagram
  [[ $output == *'─ up1      uplink'* ]] || fail "$output"
  pw uplink del br1 -q
}

# attached_state — the host and web, but for the MAC address of the link's end in the host, which is another each time.
attached_state() {
  host_state | jq '(.links[] | select(.kind == "veth")) |= del(.mac)'
  guest_state web
}

@test "--verbose: what it tells, copied into a shell, does the same" {
  start_guest web
  local before=() after script=$BATS_TEST_TMPDIR/transcript
  before=("$(host_state)" "$(guest_state web)")
  run_pw --verbose br1 web 10.1.1.2/24@10.1.1.1
  assert_exit 0
  printf '%s\n' "$stderr" > "$script"
  after=$(attached_state)
  run_pw --verbose disconnect web
  assert_exit 0
  assert_same_state "${before[0]}" "$(host_state)"
  assert_same_state "${before[1]}" "$(guest_state web)"
  on_host sh -eu "$script"
  assert_same_state "$after" "$(attached_state)"
  # and so does that of disconnect
  on_host sh -eu /dev/stdin <<< "$stderr"
  assert_same_state "${before[0]}" "$(host_state)"
  assert_same_state "${before[1]}" "$(guest_state web)"
}

# blocks — splits a transcript on standard input into the test's block.1, block.2 and so on, one for each subshell.
blocks() {
  rm -f "$BATS_TEST_TMPDIR"/block.*
  awk -v to="$BATS_TEST_TMPDIR/block." '/^\($/ { n++ } n == 0 { exit 1 } { print > (to n) }'
}

@test "--verbose of several guests: one block for each, of which every one does the same by itself" {
  start_guest web
  netns_guest blue
  local before after file=$BATS_TEST_TMPDIR/lan.pipework block program
  # All of them want to make br1, and all but one of them begin anew.
  printf '%s\n' 'br1 web 10.1.1.2/24@10.1.1.1' 'br1 -i eth2 web 10.1.2.2/24' 'br1 netns:blue 10.1.1.3/24' \
    'br1 -i eth2 netns:blue 10.1.2.3/24' > "$file"
  before=$(guest_state web; guest_state blue; host_state)
  run_pw --verbose up "$file"
  assert_exit 0
  after=$(attached_state; guest_state blue)
  blocks <<< "$stderr"
  local all=("$BATS_TEST_TMPDIR"/block.*)
  ((${#all[@]} == 2)) || fail "$stderr"
  pw down "$file" -q
  # the one that makes the bridge goes first
  for block in $(grep -l 'stp_state' "$BATS_TEST_TMPDIR"/block.*) $(grep -L 'stp_state' "$BATS_TEST_TMPDIR"/block.*); do
    # in a shell that goes on after what fails, as one at a prompt does
    on_host sh < "$block" || fail "$(< "$block")"
  done
  assert_same_state "$after" "$(attached_state; guest_state blue)"
  # what is taken away is told in the same manner, also where several steps are in the guest
  pw eth0 web -i eth3 192.168.77.50/24 --no-probe -q
  pw eth0 web -i eth4 192.168.77.51/24 --no-probe -q
  run_pw --verbose disconnect web
  assert_exit 0
  blocks <<< "$stderr"
  pw eth0 web -i eth3 192.168.77.50/24 --no-probe -q
  pw eth0 web -i eth4 192.168.77.51/24 --no-probe -q
  pw br1 web 10.1.1.2/24@10.1.1.1 -l "$(sed -n 's/^ip link del dev \(.*\)/\1/p' "$BATS_TEST_TMPDIR/block.1" | head -n 1)" -q
  pw br1 -i eth2 web 10.1.2.2/24 -q
  on_host sh -eu "$BATS_TEST_TMPDIR/block.1"
  pw down "$file" -q
  # one guest by two names is found out before anything is changed
  printf '%s\n' 'br1 web 10.1.1.2/24' 'br1 docker:web 10.1.1.3/24' > "$file"
  run_pw up "$file"
  assert_exit 1
  assert_err "two lines are about 'eth1' of 'web'"
  # and so is a host that cannot do what is asked of it
  mkdir "$BATS_TEST_TMPDIR/few"
  for program in node ip nsenter sysctl env; do ln -s "$(command -v "$program")" "$BATS_TEST_TMPDIR/few/"; done
  run --separate-stderr on_host env PATH="$BATS_TEST_TMPDIR/few" "$PIPEWORK" br1 --bridge-address 10.1.1.1/24 --nat web 10.1.1.2/24@10.1.1.1
  assert_exit 1
  assert_err "neither 'nft' nor 'iptables' works here"
  assert_same_state "$before" "$(guest_state web; guest_state blue; host_state)"
}
