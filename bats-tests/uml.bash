# shellcheck shell=bash
# User-Mode Linux: a kernel with what this machine's may lack, on this machine's own files. For uml.bats.
#
#     this machine                          the kernel under test
#     umltap 192.168.79.1/24 ────────────── vec0, a NIC as real ones are        / = this machine's, read-only,
#     (in a namespace of its own)                                                   under an overlay in memory
#     OUT, a directory ──────────────────── /run/out, writable                  bats-tests/uml-cases.bash runs

# uml_boot OUT [CASE…] — boots it once, runs these cases of uml-cases.bash in it, or all; what they say is in OUT.
uml_boot() {
  local out=$1
  shift
  # Whoever builds in the meantime shall not change what is tested.
  cp "$PIPEWORK" "$out/pipework"
  printf '%s\n' "$@" > "$out/cases"
  uml_init "$out" > "$out/init"
  chmod +x "$out/init"
  cc -O2 -shared -fPIC -o "$out/ptrace.so" "${BASH_SOURCE[0]%/*}/uml-ptrace.c"
  # All of its processes end with it: they have a PID namespace of their own. It is not the first process there, which
  # abort(3) does not end: a kernel that panics would go on for ever.
  # shellcheck disable=SC2016 # expanded there
  timeout --kill-after 5 "${UML_LIMIT:-1800}" unshare --net --pid --fork --kill-child --mount-proc sh -euc '
    ip link set dev lo up
    ip tuntap add dev umltap mode tap
    ip addr add 192.168.79.1/24 dev umltap
    ip link set dev umltap up
    export TMPDIR=/dev/shm
    LD_PRELOAD=$1/ptrace.so linux.uml rootfstype=hostfs rootflags=/ ro mem=768M quiet loglevel=3 con0=null,fd:1 con=null ssl=null \
      vec0:transport=tap,ifname=umltap,depth=64,gro=0 init="$1/init" uml_dir="$1" umid=uml || true
  ' sh "$out" < /dev/null > "$out/boot.log" 2>&1 3>&- 4>&- || true
}

# uml_init OUT — prints the first program of that kernel.
uml_init() {
  local modules
  modules=$(find /usr/lib/uml/modules -mindepth 1 -maxdepth 1 -print -quit)
  cat << END
#!/bin/sh
export PATH=$PATH HOME=/root LC_ALL=C PIPEWORK_SOAK=${PIPEWORK_SOAK-}
mount -t proc proc /proc
mount -t tmpfs -o size=80% tmpfs /run
mkdir -p /run/over/upper /run/over/work /run/root /run/kernel/lib/modules
ln -s $modules /run/kernel/lib/modules/${modules##*/}
modprobe -d /run/kernel overlay
mount -t overlay overlay -o lowerdir=/,upperdir=/run/over/upper,workdir=/run/over/work /run/root || busybox poweroff -f
cd /run/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --bind /dev dev
mount -t tmpfs tmpfs run
mkdir -p dev/pts dev/shm run/old run/out run/netns run/lock lib/modules
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -sfn $modules lib/modules/${modules##*/}
pivot_root . run/old
cd /
mount -t hostfs -o $1 none /run/out
ln -sfn /proc/self/fd dev/fd
modprobe ipv6
ip link set dev lo up
bash $(realpath "${BASH_SOURCE[0]%/*}")/uml-cases.bash
sync
busybox poweroff -f
END
}
