#!/usr/bin/env bats
# Files of attachments: up makes them true, diff looks, down takes them away, save writes one.

# shellcheck disable=SC2030,SC2031,SC2154 # each test is a process of its own; run_pw sets status, output and stderr
load rig

setup() {
  need_host
  cd "$BATS_TEST_TMPDIR" || return
}
teardown() { clean_host; }

# file NAME — writes a file of standard input.
file() { cat > "$1"; }

# all_state GUEST… — the state of the host and of these guests, without the MAC addresses that the kernel draws by lot
# for the hosts' ends of links.
all_state() {
  local guest
  { host_state; for guest; do guest_state "$guest"; done; } |
    jq 'del(.links[] | select(.kind == "veth" and (.master // "" | test("^(br|ls)"))) | .mac)'
}

@test "up attaches what the file has, to containers and namespaces; again nothing; down takes it all away" {
  need_docker
  start_guest web
  start_guest db
  netns_guest blue
  local before attached
  before=$(all_state web db blue)
  file lan.pipework << 'END'
# the LAN
br1 web 10.1.1.2/24@10.1.1.1   # with a gateway
br1 -i eth2 web ${NET:-10.1.2}.2/24 'U:web'
br1 docker:db ${DB}/24,fd00::3/64
br1 -l bluehost netns:blue 10.1.1.4/24 --mtu 1400
END
  run_pw up lan.pipework
  assert_exit 2
  assert_err "lan.pipework:4:15: '\${DB}' is empty: set DB"
  assert_same_state "$before" "$(all_state web db blue)"
  export DB=10.1.1.3
  run_pw diff lan.pipework
  assert_exit 1
  assert_out '+ lan.pipework:2: web eth1'
  assert_out '    create the bridge br1'
  assert_same_state "$before" "$(all_state web db blue)"
  run_pw up lan.pipework
  assert_exit 0
  assert_out 'web has eth2 on br1 with 10.1.2.2/24'
  assert_out '4 created ('
  assert_json "$(pw ls --json)" '[.attachments[] | [.guest.name, .ifname, .hostif, .state]] ==
    [["blue", "eth1", "br1", "up"], ["db", "eth1", "br1", "up"], ["web", "eth1", "br1", "up"], ["web", "eth2", "br1", "up"]]'
  in_guest web ping -c 1 -W 20 -q 10.1.1.3
  in_guest blue ping -c 1 -W 20 -q 10.1.1.2
  attached=$(all_state web db blue)
  assert_json "$attached" '.pins == []'
  run_pw diff lan.pipework
  assert_exit 0
  [[ -z $output ]]
  run_pw up --json --prune lan.pipework
  assert_exit 0
  assert_json "$output" '.ok and (.changed | not) and (.attachments | map(.state) == ["same", "same", "same", "same"]) and .detached == []'
  assert_same_state "$attached" "$(all_state web db blue)"
  # what somebody has changed by hand is mended, and nothing else is touched
  in_guest web ip addr del 10.1.1.2/24 dev eth1
  run_pw up lan.pipework
  assert_exit 0
  assert_out '1 changed, 3 unchanged'
  assert_same_state "$attached" "$(all_state web db blue)"
  run_pw down lan.pipework
  assert_exit 0
  assert_out '4 removed'
  assert_same_state "$before" "$(all_state web db blue)"
  run_pw down lan.pipework
  assert_exit 0
  assert_out '4 not there'
}

@test "all mistakes of all files at once, with file, line and column; nothing is changed" {
  netns_guest web
  local before
  before=$(all_state web)
  file a.pipework << 'END'
br1 netns:web 10.1.1.2/24
br1 netns:web 300.1.1.1/24
  br1 netns:web -i eth2 $(touch pwned)/24
br1 --mtu x netns:web -i eth3 10.1.2.2/24
route netns:web add default via 10.1.1.1
pipework br1 netns:web 0/0
br1 netns:web -i eth4 10.1.1.9/24 --dry-run
br1 netns:web -i eth1 10.1.1.8/24
br1 netns:web -i eth5 10.1.1.2/16
br1 'netns:web
END
  file b.pipework << 'END'
br1 netns:web -i eth1 10.9.1.8/24
END
  run_pw up a.pipework b.pipework
  assert_exit 2
  assert_err "10 mistakes in 'a.pipework' and 'b.pipework'; nothing was changed"
  assert_err "a.pipework:2:15: '300.1.1.1/24'"
  assert_err "a.pipework:3:25: '\$(touch pwned)'"
  assert_err "a.pipework:4:11: --mtu 'x'"
  assert_err "a.pipework:5:1: 'route' is a command"
  assert_err "a.pipework:6:1: unexpected argument 'pipework'"
  assert_err "a.pipework:7:35: '--dry-run' applies to the whole run"
  assert_err "a.pipework:8:1: 'eth1' of 'web' is already in a.pipework:1"
  assert_err "a.pipework:9:1: '10.1.1.2/16' on 'br1' is already in a.pipework:1"
  assert_err "a.pipework:10:5: the quote"
  assert_err "b.pipework:1:1: 'eth1' of 'web' is already in a.pipework:1"
  [[ ! -e pwned ]]
  run_pw up --json no.pipework
  assert_exit 1
  assert_json "$output" '.error.message == "there is no file '"'no.pipework'"'"'
  mkdir d
  run_pw up d
  assert_exit 1
  assert_err "'d' is a directory"
  run_pw up - <<< 'br1 netns:web 0/0'
  assert_exit 1
  assert_err 'Standard input is /dev/stdin.'
  # as Windows writes it, and with the last line open; from a pipe
  printf '\xef\xbb\xbf# who\r\nbr1\tnetns:web\t10.1.1.2/24\r\nbr1 netns:web -i eth2 0/0' > odd
  run_pw diff --json /dev/stdin < odd
  assert_json "$output" '[.attachments[] | [.where, .state]] == [["/dev/stdin:2", "planned"], ["/dev/stdin:3", "planned"]]'
  assert_same_state "$before" "$(all_state web)"
}

@test "one guest's failure does not stop the others; who does not run is reported" {
  need_docker
  start_guest web
  start_guest idle
  stop_guest idle
  netns_guest blue
  netns_guest full
  in_guest full ip link add eth1 type veth peer name far
  local before
  before=$(guest_state full)
  file lan.pipework << 'END'
br1 web 10.1.1.2/24
br1 netns:full -i eth3 10.1.3.3/24
br1 netns:full 10.1.1.3/24
br1 idle 10.1.1.4/24
br1 netns:blue 10.1.1.5/24
br1 nobody 10.1.1.6/24
END
  run_pw up lan.pipework
  assert_exit 1
  assert_err "pipework: lan.pipework:2, lan.pipework:3: 'full' already has an interface 'eth1', and pipework did not make it"
  assert_out "lan.pipework:4: the container 'idle' is not running"
  assert_out "lan.pipework:6: there is no container 'nobody'"
  assert_out '2 created, 2 without a running guest, 2 failed'
  # all of one guest's lines, or none
  assert_same_state "$before" "$(guest_state full)"
  assert_json "$(pw ls --json)" '[.attachments[].guest.name] == ["blue", "web"]'
  in_guest full ip link del dev eth1
  run_pw up --json lan.pipework
  assert_exit 0
  assert_json "$output" '.ok and .changed and (.attachments | map(.state) == ["same", "made", "made", "absent", "same", "absent"])'
  run_pw up --wait-guest 0.1 lan.pipework
  assert_exit 124
  # an awaited guest is attached when it comes
  start_pw up --wait-guest 60 lan.pipework
  docker start idle > /dev/null
  start_guest nobody
  wait_pw
  assert_exit 0
  assert_out '2 created, 4 unchanged'
}

@test "two lines of one guest are one change: undone after every step, mended after every kill" {
  netns_guest web
  on_host ip link add br1 type bridge
  on_host ip link set dev br1 up
  file lan.pipework << 'END'
br1 netns:web 10.1.1.2/24@10.1.1.1 --no-probe
br2 -i eth2 netns:web 10.1.2.2/24@10.1.2.1 --metric 200 --no-probe
END
  local steps before after n
  steps=$(pw diff --json lan.pipework | jq '[.attachments[].steps[]] | length')
  ((steps > 10)) || fail "only $steps steps"
  before=$(all_state web)
  for n in $(steps_of 0 "$steps"); do
    PIPEWORK_FAIL_AFTER=$n run_pw up lan.pipework
    assert_exit 1 || fail "after step $n" || return
    assert_err "stopped after step $n" || return
    assert_same_state "$before" "$(all_state web)" || fail "after step $n" || return
  done
  pw --quiet up lan.pipework
  after=$(all_state web)
  pw --quiet down lan.pipework
  assert_same_state "$before" "$(all_state web)"
  for n in $(steps_of 1 "$steps" 2); do
    PIPEWORK_KILL_AFTER=$n run_pw up lan.pipework
    assert_exit 137 || fail "after step $n" || return
    run_pw up lan.pipework
    assert_exit 0 || fail "after step $n" || return
    assert_same_state "$after" "$(all_state web)" || fail "after a kill at step $n" || return
    pw --quiet down lan.pipework
  done
}

@test "--prune takes away what the file has made and has no longer, and nothing else" {
  netns_guest web
  netns_guest db
  netns_guest evil
  pw --quiet br1 -i eth9 netns:web 10.9.0.2/24
  printf '%s\n' 'br1 netns:web 10.1.1.2/24' 'br1 netns:web -i eth2 10.1.2.2/24' 'br1 netns:db 10.1.1.3/24' \
    'br3 netns:db -i eth2 10.3.0.3/24' 'br1 netns:web -i eth9 10.9.0.2/24' > lan.pipework
  echo 'br1 netns:db -i eth5 10.5.0.2/24' > other.pipework
  pw --quiet up lan.pipework other.pipework
  local tag before
  tag=$(on_host ip -j link show master br3 | jq -r '.[0].ifalias | capture("f=(?<tag>[0-9a-f]{8})").tag')
  # whoever may write on a link of his own cannot have another's taken away
  in_guest evil ip link add eth1 type dummy 2> /dev/null || in_guest evil ip link add link lo name eth1 type macvlan ||
    in_guest evil ip link add eth1 type bridge
  in_guest evil ip link set dev eth1 alias "pipework1;g=netns:web;i=eth9;h=br1;a=10.9.0.2/24;f=$tag"
  before=$(guest_state evil)
  # by another name it is the same file
  ln -s lan.pipework link.pipework
  printf '%s\n' 'br1 netns:web 10.1.1.2/24' 'br1 netns:web -i eth3 10.7.0.3/24' > lan.pipework
  run_pw diff --prune link.pipework
  assert_exit 1
  assert_out '- netns:web eth2: remove it'
  assert_out '+ link.pipework:2: web eth3'
  run_pw up --dry-run --prune link.pipework
  assert_exit 0
  assert_out 'pipework disconnect netns:db eth2'
  run_pw up link.pipework
  assert_exit 0
  assert_json "$(pw ls --json)" '[.attachments[] | select(.guest.name != "web" or .hostif != "br1" or .ifname != "eth9") | .ifname]
    | length >= 5'
  # what has moved to another file is that file's
  echo 'br1 netns:db 10.1.1.3/24' >> other.pipework
  pw --quiet up other.pipework
  run_pw up --prune link.pipework
  assert_exit 0
  assert_out 'netns:web no longer has eth2 on br1'
  assert_out 'netns:db no longer has eth2 on br3'
  assert_out '2 unchanged, 2 removed'
  assert_json "$(host_state)" '[.links[].name] | index("br3") | not' 'the bridge goes with the last'
  in_guest web ip link show dev eth9
  in_guest db ip link show dev eth5
  in_guest db ip link show dev eth1
  assert_same_state "$before" "$(guest_state evil)"
  run_pw up --prune link.pipework
  assert_exit 0
  assert_out '2 unchanged ('
}

@test "save writes what up makes again: nothing changes now, and all is the same after disconnecting all" {
  need_docker
  start_guest web
  netns_guest blue
  local before file
  on_host ip link add 'ls' type bridge
  pw --quiet br1 -i eth2 -l webhost web '10.1.1.2/24@10.1.1.1,fd00::2/64' "U:it's a \$(text)"
  pw --quiet br4 netns:blue 10.1.1.3/255.255.255.0 --no-default-route --route 10.40.0.0/16,10.1.1.254 --mtu 1400
  pw --quiet br2 netns:blue -i eth3 0/0 26:2e:71:98:60:8f
  pw --quiet eth0 web 192.168.77.50/24 --mode vepa
  pw --quiet --mtu 1300 -i eth4 -- ls netns:blue 10.4.0.2/24
  # twelve addresses do not fit into a record: they are read from the guest
  pw --quiet br2 web -i eth5 "$(printf 'fd00:1111:2222:3333:4444:5555:6666:%x/64,' {1..12} | sed 's/,$//')"
  before=$(all_state web blue)
  run_pw save
  assert_exit 0
  file=$output
  printf '%s\n' "$file" > lan.pipework
  [[ $(grep -vc '^#' lan.pipework) == 6 ]] || fail "$file"
  run_pw diff lan.pipework
  assert_exit 0 || fail "$file"
  run_pw up --prune lan.pipework
  assert_exit 0
  assert_out '6 unchanged ('
  assert_same_state "$before" "$(all_state web blue)"
  pw --quiet disconnect web
  pw --quiet disconnect netns:blue
  run_pw up lan.pipework
  assert_exit 0 || fail "$file"
  # the record names the file now, and the kernel draws a new MAC address for the hosts' ends
  strip() { sed -E 's/;f=[0-9a-f]{8}//' <<< "$1"; }
  assert_same_state "$(strip "$before")" "$(strip "$(all_state web blue)")"
  run_pw save
  [[ $output == "$file" ]] || fail "$output"
}

@test "the address that one line gives a bridge serves the others, whichever comes first" {
  local before
  netns_guest web
  netns_guest db
  before=$(all_state web db)
  file nat.pipework << 'END'
br1 --nat --publish 8080:80 netns:db 10.0.0.3/24@10.0.0.1
br1 --bridge-address 10.0.0.1/24 --nat netns:web 10.0.0.2/24@10.0.0.1
END
  run_pw diff nat.pipework
  assert_exit 1
  assert_out 'nat.pipework:1: db eth1'
  [[ -z $stderr ]] || fail "$stderr"
  run_pw up nat.pipework
  assert_exit 0
  in_guest db ping -c 1 -w 20 -q 10.0.0.1 > /dev/null
  run_pw diff nat.pipework
  assert_exit 0
  pw save > saved.pipework
  pw -q down nat.pipework
  assert_same_state "$before" "$(all_state web db)"
  pw -q up saved.pipework
  pw -q down saved.pipework
  assert_same_state "$before" "$(all_state web db)"
}

@test "save believes no record that a guest has written for itself" {
  netns_guest web
  netns_guest blue
  on_host ip link add br1 type bridge
  pw --quiet --no-probe eth0 netns:blue 192.168.77.50/24
  local alias forged
  alias=$(in_guest blue ip -j link show dev eth1 | jq -r '.[0].ifalias')
  [[ $(pw save | grep -v '^#') == 'eth0 netns:blue 192.168.77.50/24' ]]
  for forged in "${alias/h=eth0/h=br1}" "${alias/netns:blue/netns:web}" "${alias/netns:blue/netns:nobody}" \
    "$alias;w=--publish=8080:80" "$alias;w=--nat" "$alias;n=eth0" "$alias;w=--direct-phys" "$alias;w=@10" \
    "$alias;w=--mode=passthru" "$alias;w=--kind=ipvlan" "$alias;w=--host-access" "$alias;u=vxlan:7,192.0.2.1" \
    "$alias;s=udhcpc:-s+/x"; do
    in_guest blue ip link set dev eth1 alias "$forged"
    run_pw save
    assert_exit 0
    [[ $(grep -v '^#' <<< "$output") == '' && $output == *'says a record inside a guest'* || $output == *'no network namespace'* ]] ||
      fail "$forged: $output"
  done
  in_guest blue ip link del dev eth1
  in_guest blue ip link add eth1 type bridge
  in_guest blue ip link set dev eth1 alias "${alias/h=eth0/h=br1}"
  ! grep -v '^#' <<< "$(pw save)" || fail 'a link of the guest itself is saved'
}

@test "--dry-run is a script that does the same, for up and for down" {
  netns_guest web
  netns_guest blue
  local before after
  before=$(all_state web blue)
  printf '%s\n' 'br1 netns:web 10.1.1.2/24@10.1.1.1' 'br1 netns:web -i eth2 10.1.2.2/24' 'br1 netns:blue 10.1.1.3/24,fd00::3/64' \
    > lan.pipework
  pw up --dry-run lan.pipework > up.sh
  assert_same_state "$before" "$(all_state web blue)"
  pw --quiet up lan.pipework
  after=$(all_state web blue)
  pw down --dry-run lan.pipework > down.sh
  assert_same_state "$after" "$(all_state web blue)"
  on_host sh down.sh
  assert_same_state "$before" "$(all_state web blue)"
  on_host sh up.sh
  assert_same_state "$after" "$(all_state web blue)"
  run_pw up --dry-run lan.pipework
  assert_out '# nothing to do'
  # how far it is, on a terminal only
  [[ $(on_host script -q -c "$PIPEWORK up lan.pipework" /dev/null < /dev/null) == *'3 of 3'*'3 unchanged'* ]]
  [[ $(pw up lan.pipework 2>&1) != *'3 of 3'* ]]
}

@test "two at once, and many at once on a new bridge: each says 0, and all is there" {
  local number pids=()
  for number in {1..40}; do
    netns_guest "g$number"
    echo "br1 netns:g$number 10.1.1.$number/24 --no-probe"
  done > lan.pipework
  for number in 1 2; do
    pw --json up lan.pipework > "$number.json" 2>&1 < /dev/null 3>&- 4>&- &
    pids+=($!)
  done
  for number in 1 2; do
    wait "${pids[number - 1]}" || fail "$(< "$number.json")"
    assert_json "$(< "$number.json")" '.ok and (.attachments | length == 40)'
  done
  assert_json "$(on_host ip -j link show master br1)" 'length == 40 and all(.[]; .flags | index("UP"))'
  assert_json "$(host_state)" '.pins == []'
  in_guest g1 ping -c 1 -W 20 -q 10.1.1.40
  run_pw down lan.pipework
  assert_exit 0
  assert_json "$(host_state)" '[.links[].name] == ["eth0", "lo"]'
}

@test "a signal: the guest that is under way is as it was, the ones before are done, and the rest is told" {
  local number
  for number in {1..60}; do
    netns_guest "g$number"
    echo "br1 netns:g$number 10.1.1.$number/24,fd00::$number/64"
  done > lan.pipework
  on_host ip link add br1 type bridge
  on_host ip link set dev br1 up
  start_pw up --json lan.pipework
  wait_until 60 on_host sh -c 'ls /sys/class/net | grep -q veth'
  kill -INT "$PW_PID"
  wait_pw
  assert_exit 1
  assert_json "$output" '(.ok | not) and ([.attachments[] | select(.state == "failed")] | length > 0)
    and all(.attachments[] | select(.state == "failed"); .error.message | test("interrupted"))'
  # what is attached is what it says
  assert_json "$(jq -n --argjson said "$output" --argjson ls "$(pw ls --json)" '{ $said, $ls }')" \
    '([.said.attachments[] | select(.state == "made") | .guest] | sort) == ([.ls.attachments[].guest.name] | sort)'
  assert_json "$(host_state)" '.pins == []'
  pw --quiet up lan.pipework
}

@test "Podman's containers beside Docker's" {
  need_docker
  need_podman
  start_guest web
  start_podman_guest pod
  printf '%s\n' 'br1 web 10.1.1.2/24' 'br1 pod 10.1.1.3/24' 'br1 -i eth2 podman:pod 10.1.2.3/24' > lan.pipework
  run_pw up lan.pipework
  assert_exit 0
  assert_out '3 created ('
  in_guest podman:pod ping -c 1 -W 20 -q 10.1.1.2
  run_pw up lan.pipework
  assert_exit 0
  assert_out '3 unchanged ('
  run_pw down lan.pipework
  assert_exit 0
  assert_out '3 removed'
}

@test "the firewall is warned of once for each bridge" {
  need nft nftables
  netns_guest web
  netns_guest db
  printf '%s\n' 'br1 netns:web 10.1.1.2/24' 'br1 netns:db 10.1.1.3/24' > lan.pipework
  on_host sysctl -qw net.bridge.bridge-nf-call-iptables=1 || skip 'this kernel has no br_netfilter'
  on_host iptables -P FORWARD DROP
  run_pw up lan.pipework
  on_host nft flush ruleset
  assert_exit 0
  assert_err 'br1'
  [[ $(grep -c '^pipework: ' <<< "$stderr") == 1 ]] || fail "$stderr"
}

@test "a bridge with an uplink, asked for by many guests at once; save writes it, and a line cannot be confirmed" {
  local number file
  echo 'br0@eth0 netns:g1 192.168.77.51/24 --confirm 9' > lan.pipework
  run_pw up lan.pipework
  assert_exit 2
  assert_err "lan.pipework:1:36: '--confirm' waits for an answer"
  for number in 1 2 3 4; do
    netns_guest "g$number"
    echo "br0@eth0 netns:g$number 192.168.77.5$number/24@192.168.77.1"
  done > lan.pipework
  run_pw up lan.pipework
  assert_exit 0
  assert_json "$(on_host ip -j link show master br0)" 'length == 5'
  in_guest g4 ping -c 1 -W 20 -q 192.168.77.1
  run_pw save
  assert_out 'br0@eth0 netns:g4 192.168.77.54/24@192.168.77.1'
  printf '%s\n' "$output" > saved.pipework
  run_pw up saved.pipework
  assert_exit 0
  pw --quiet down lan.pipework
  pw --quiet uplink del br0
}
