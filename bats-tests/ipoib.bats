#!/usr/bin/env bats
# InfiniBand. No kernel here has the hardware: the host interface is a real TUN device of InfiniBand's link type (32), as
# the kernel shows it; only `type ipoib` itself is a stand-in, a dummy-like bridge device that a wrapper of ip makes in
# its place. What the wrapper was asked for is asserted.

load rig

setup() {
  need_docker
  need python3 python3
  netns_guest blue
  make_infiniband ib0
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  cat > "$BATS_TEST_TMPDIR/bin/ip" << EOF
#!/bin/sh
# ip, in which "type ipoib" is a bridge device; what was asked for is written down.
case " \$* " in
*" -batch "*) tee -a "$BATS_TEST_TMPDIR/asked" | sed -E 's/link add link ib0 (.*) type ipoib.*/link add \\1 type bridge/' | exec "$(command -v ip)" "\$@" ;;
*) exec "$(command -v ip)" "\$@" ;;
esac
EOF
  chmod +x "$BATS_TEST_TMPDIR/bin/ip"
}

teardown() {
  clean_host
}

# A persistent TUN device whose link type is 32, ARPHRD_INFINIBAND (TUNSETLINK takes it while the device is down).
make_infiniband() {
  on_host python3 - "$1" << 'EOF'
import fcntl, struct, sys
TUNSETIFF, TUNSETPERSIST, TUNSETLINK = 0x400454CA, 0x400454CB, 0x400454CD
IFF_TUN, IFF_NO_PI = 1, 0x1000
tun = open('/dev/net/tun', 'r+b', buffering=0)
fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', sys.argv[1].encode(), IFF_TUN | IFF_NO_PI))
fcntl.ioctl(tun, TUNSETLINK, 32)
fcntl.ioctl(tun, TUNSETPERSIST, 1)
EOF
}

run_ib() {
  PATH="$BATS_TEST_TMPDIR/bin:$PATH" run_pw "$@"
}

@test "an InfiniBand interface is told by its link type, and gets a child called ib0 in the guest" {
  [ "$(on_host cat /sys/class/net/ib0/type)" = 32 ]
  run_ib ib0 netns:blue 10.10.10.20/24
  assert_exit 0
  grep -Eqx 'link add link ib0 name ib0 netns pipework-[0-9-]+ type ipoib' "$BATS_TEST_TMPDIR/asked"
  assert_json "$(in_guest blue ip -j addr show dev ib0)" '.[0].addr_info[] | select(.local == "10.10.10.20") | .prefixlen == 24'
  run_pw ls --json
  assert_json "$output" '.attachments[0].ifname == "ib0" and .attachments[0].hostif == "ib0"'
  pw disconnect netns:blue
  run in_guest blue ip link show dev ib0
  [ "$status" -ne 0 ]
}

@test "what follows the @ is the partition key, in hexadecimal" {
  run_ib -i ib1 ib0 netns:blue 10.10.10.20/24 @8001
  assert_exit 0
  grep -Eq 'name ib1 netns pipework-[0-9-]+ type ipoib pkey 0x8001$' "$BATS_TEST_TMPDIR/asked"
}

@test "a MAC address, a name for the host's end and a wrong key are refused, and nothing is changed" {
  local before
  before=$(host_state)
  run_pw ib0 netns:blue 10.10.10.20/24 26:2e:71:98:60:8f
  assert_exit 1
  assert_err "hardware"
  run_pw -l outside ib0 netns:blue 10.10.10.20/24
  assert_exit 1
  run_pw ib0 netns:blue 10.10.10.20/24 @xyz
  assert_exit 2
  run_pw br1 netns:blue 10.10.10.20/24 @8001
  assert_exit 2
  assert_err "8001"
  assert_same_state "$before" "$(host_state)"
}

@test "a kernel without IPoIB says so, and nothing is left" {
  local before
  before=$(guest_state blue)
  run_pw ib0 netns:blue 10.10.10.20/24
  assert_exit 1
  assert_err "ib_ipoib"
  assert_same_state "$before" "$(guest_state blue)"
}
