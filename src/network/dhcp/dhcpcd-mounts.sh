#!/bin/sh
# sh dhcpcd-mounts.sh DIRECTORY DUID COMMAND…: in a mount namespace of its own.
# dhcpcd keeps its files in fixed directories; each client gets its own.
umount -a -l -t nsfs 2> /dev/null
directory=$1 duid=$2
shift 2
mkdir -p /run/dhcpcd /var/lib/dhcpcd
mount -t tmpfs tmpfs /var/lib/dhcpcd &&
  mkdir /var/lib/dhcpcd/pipework &&
  mount --bind "$directory" /var/lib/dhcpcd/pipework &&
  mount -t tmpfs tmpfs /run &&
  mkdir -p /run/dhcpcd "$directory" &&
  mount --bind /var/lib/dhcpcd/pipework "$directory" || exit
echo "$duid" > /var/lib/dhcpcd/duid
# Not exec: a process that changes its user loses its parent-death signal.
"$@" &
wait "$!"
