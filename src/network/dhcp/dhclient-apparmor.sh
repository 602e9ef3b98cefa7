#!/bin/sh
# sh dhclient-apparmor.sh DIRECTORY HOOK COMMAND…: in a mount namespace of its own.
# The AppArmor profile of Debian and Ubuntu (sbin.dhclient) allows fixed paths only: our files are mounted there.
umount -a -l -t nsfs 2> /dev/null
directory=$1 hook=$2
shift 2
mount --bind "$hook" /sbin/dhclient-script &&
  mount --bind "$directory" /var/lib/dhcp &&
  mount --bind "$directory" /etc/dhcp || exit
# Not exec: a process that changes its profile loses its parent-death signal.
"$@" &
wait "$!"
