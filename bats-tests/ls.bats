#!/usr/bin/env bats
# pipework ls: who is attached where, read from the links themselves.

load rig
load promise

setup() { need_docker; }
teardown() { clean_host; }

# nobody ARG… — pipework as a user without rights, under `run`; from a folder that such a user can read.
nobody() {
  on_host install -m 755 "$PIPEWORK" /run/pipework-copy
  run --separate-stderr on_host setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs /run/pipework-copy "$@"
  on_host rm /run/pipework-copy
}

@test "without attachments: a head and no more, an empty list" {
  run_pw ls
  assert_exit 0
  [[ $output == 'GUEST  INTERFACE  ADDRESS  ON  HOST END  STATE' ]]
  run_pw ls --json
  assert_exit 0
  assert_json "$output" '. == {ok: true, attachments: []}'
}

@test "a line for each attachment, of containers and of namespaces, sorted" {
  start_guest web
  netns_guest blue
  pw br1 -i eth2 web 0/0 -l web2
  pw br1 web 10.1.1.2/24@10.1.1.1,fd00::2/64 -l web1 --no-probe
  pw br2 netns:blue 10.1.2.2/24 -l blue1
  on_host ip link set dev blue1 down
  run_pw ls
  assert_exit 0
  [[ $(tr -s ' ' <<< "$output") == "\
GUEST INTERFACE ADDRESS ON HOST END STATE
netns:blue eth1 10.1.2.2/24 br2 blue1 down
web eth1 10.1.1.2/24@10.1.1.1,fd00::2/64 br1 web1 up
web eth2 - br1 web2 up" ]]

  run_pw disconnect web eth1
  run_pw ls
  [[ $output != *web1* && $output == *web2* && $output == *blue1* ]]
}

@test "--json has what the table has, and the container's id" {
  local id
  start_guest web
  id=$(docker inspect --format '{{.Id}}' web)
  pw br1 web 10.1.1.2/24@10.1.1.1 -l webhost
  run_pw ls --json
  assert_exit 0
  assert_json "$output" ".ok and (.attachments | map(del(.words)) == [{
    guest: {kind: \"docker\", name: \"web\", id: \"${id:0:12}\"}, ifname: \"eth1\", addresses: [\"10.1.1.2/24@10.1.1.1\"],
    hostif: \"br1\", hostEnd: \"webhost\", mtu: 1500, state: \"up\"}])"
}

@test "nobody needs to be root for it, nor to reach Docker" {
  start_guest web
  pw br1 web 10.1.1.2/24
  nobody ls
  assert_exit 0
  assert_out 'web'
  DOCKER_HOST=unix:///nowhere nobody ls --json
  assert_exit 0
  assert_json "$output" '.attachments[0].guest.name == "web"'
}

@test "when the container dies its line goes" {
  start_guest web
  start_guest db
  pw br1 web 10.1.1.2/24
  pw br1 db 10.1.1.3/24
  docker kill web > /dev/null
  wait_until 30 lists db
  docker rm --force db > /dev/null
  wait_until 30 lists ''
}

# lists NAME — ls has this guest alone, or none.
lists() {
  [[ $(pw ls --json | jq -r '[.attachments[].guest.name] | join(" ")') == "$1" ]]
}

@test "links of others, whatever their alias, are ignored" {
  local alias number=0
  for alias in 'my cable' pipework pipeworkish 'pipework;g=docker:web' 'not pipework1;g=docker:web;i=eth1;h=br1;a=' ''; do
    on_host ip link add dev "other$((number += 1))" type bridge
    [[ -z $alias ]] || on_host ip link set dev "other$number" alias "$alias"
  done
  run_pw ls --json
  assert_exit 0
  assert_json "$output" '.attachments == []'
}

@test "a record of a later version, or a damaged one, spoils nothing" {
  local alias number=0
  start_guest web
  pw br1 web 10.1.1.2/24 -l webhost
  for alias in 'pipework2;x=1' 'pipework99' 'pipework1' 'pipework1;' 'pipework1;a=nonsense;g=;i=%' 'pipework1;g=docker:x;i=eth1;h=br1;a=10.1.1.2/33'; do
    on_host ip link add dev "other$((number += 1))" type bridge
    on_host ip link set dev "other$number" alias "$alias"
  done
  run_pw ls
  assert_exit 0
  assert_out 'webhost'
  [[ -z $stderr ]]
  run_pw ls --json
  assert_exit 0
  assert_json "$output" '.attachments | map(select(.hostEnd == "webhost")) | length == 1'
  run_pw disconnect web
  assert_exit 0
  on_host ip link show dev other1
}

@test "a field that this version does not know is no trouble: the record of the same version, with more in it" {
  local alias
  start_guest web
  remember web
  pw br1 web 10.1.1.2/24 -l webhost
  alias=$(on_host cat /sys/class/net/webhost/ifalias)
  on_host ip link set dev webhost alias "$alias;z=new;later"
  run_pw ls
  assert_out '10.1.1.2/24'
  assert_undone
}

# stand_in_ip SCRIPT — an ip that runs SCRIPT and then the real one; $PATH_WITH_IP finds it first.
stand_in_ip() {
  local bin=$BATS_TEST_TMPDIR/bin
  mkdir -p "$bin"
  printf '#!/bin/sh\n%s\nexec %s "$@"\n' "$1" "$(command -v ip)" > "$bin/ip"
  chmod +x "$bin/ip"
  PATH_WITH_IP=$bin:$PATH
}

# run_ls [ARG…] — ls with that ip.
run_ls() {
  run --separate-stderr on_host env PATH="$PATH_WITH_IP" "$PIPEWORK" ls "$@"
}

@test "many namespaces without a process: ours is found with an id and without, what others have is not" {
  local name
  for name in red blue green grey; do netns_guest "$name"; done
  pw eth0 netns:red 192.168.77.60/24 --no-probe
  pw eth0 netns:blue 192.168.77.61/24 --no-probe
  pw br1 netns:grey 10.1.1.2/24 --no-probe
  on_host ip netns set blue 77
  on_host ip link add link eth0 name theirs netns green type macvlan
  on_host ip -n green link set dev theirs alias 'the pipework of others'
  on_host touch /run/netns/file
  [[ $(on_host ip -j netns list | jq -c '[.[] | select(.name == ("red", "blue")) | has("id")] | sort') == '[false,true]' ]]
  run_pw ls --json
  assert_exit 0
  assert_json "$output" '[.attachments[].guest.name] == ["blue", "grey", "red"]'
  on_host rm /run/netns/file
}

@test "60 namespaces: no more than 8 programs at a time" {
  local name
  for name in many{1..60}; do on_host ip netns add "$name"; done
  # Each leaves a file while it runs, and notes how many there are.
  mkdir "$BATS_TEST_TMPDIR/now"
  stand_in_ip "cd $BATS_TEST_TMPDIR/now && : > \$\$; ls | wc -l >> ../seen; sleep 0.05; rm \$\$; cd - > /dev/null"
  run_ls
  assert_exit 0
  [[ $(sort -n "$BATS_TEST_TMPDIR/seen" | tail -n 1) -le 8 ]] || fail "$(sort -n "$BATS_TEST_TMPDIR/seen" | uniq -c)"
  (($(wc -l < "$BATS_TEST_TMPDIR/seen") >= 60))
  for name in many{1..60}; do on_host ip netns del "$name"; done
}

@test "a namespace that cannot be looked into: what is seen is listed, and it is an error" {
  netns_guest web
  netns_guest red
  pw --quiet --no-probe br1 netns:web 10.1.1.2/24
  pw --quiet --no-probe eth0 netns:red 192.168.77.60/24
  # shellcheck disable=SC2016 # another shell expands it, or none
  stand_in_ip '[ "$1" != -n ] || { echo "Too many open files" >&2; exit 1; }'
  run_ls
  assert_exit 1
  assert_out '10.1.1.2/24'
  assert_err 'could not look into 2 network namespaces of this host'
  assert_err 'Too many open files'
  run_ls --json
  assert_exit 1
  assert_json "$output" '.ok == false and (.attachments | length == 1)'
  # What depends on every link is refused.
  run --separate-stderr on_host env PATH="$PATH_WITH_IP" "$PIPEWORK" uplink add br1 eth0
  assert_exit 1
  assert_err 'could not look into 2 network namespaces of this host'
}
