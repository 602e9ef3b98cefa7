# shellcheck shell=bash
# The real programs that manage a host's network, on the rig's host alone: each has a mount namespace and files of its
# own, and the rig's D-Bus starts nobody. Loaded after rig.

# start_bus — a D-Bus for all of them.
start_bus() {
  [[ ! -e $RIG_DIR/bus.pid ]] || return 0
  on_host mkdir -p /run/dbus
  cat > "$RIG_DIR/bus.conf" << 'END'
<busconfig>
  <type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/>
  </policy>
</busconfig>
END
  rig_daemon bus dbus-daemon --config-file="$RIG_DIR/bus.conf" --nofork --nopidfile
  wait_until 60 on_host test -S /run/dbus/system_bus_socket
}

# manager NAME CMD… — starts a manager; it takes a /sys that cannot be written for that of a container, without udev.
manager() {
  start_bus
  # shellcheck disable=SC2016 # expanded in there
  rig_daemon "$1" unshare --mount --uts sh -ec 'mount -o remount,bind,ro /sys; exec "$@"' sh "${@:2}"
}

# start_networkd — systemd-networkd, which reads /run/systemd/network.
start_networkd() {
  on_host install -d -o systemd-network -g systemd-network /run/systemd/netif /run/systemd/netif/{links,leases,lldp}
  manager networkd /lib/systemd/systemd-networkd
  wait_until 60 quietly on_host networkctl
}

# start_nm — NetworkManager, with the connections in $RIG_DIR/nm/etc/system-connections.
start_nm() {
  local nm=$RIG_DIR/nm
  mkdir -p "$nm/etc/system-connections" "$nm/var"
  printf '%s\n' '[main]' plugins=keyfile dns=none rc-manager=unmanaged auth-polkit=false hostname-mode=none \
    dhcp=internal 'no-auto-default=*' > "$nm/etc/NetworkManager.conf"
  chmod -R go= "$nm/etc/system-connections"
  on_host mkdir -p /run/NetworkManager
  # shellcheck disable=SC2016 # expanded in there
  manager nm sh -ec 'mount --bind "$1/etc" /etc/NetworkManager; mount --bind "$1/var" /var/lib/NetworkManager
    exec NetworkManager --no-daemon' sh "$nm"
  wait_until 60 quietly on_host nmcli device
}

# start_firewalld — firewalld with the configuration in $RIG_DIR/firewalld; eth0 is in its default zone, public.
start_firewalld() {
  if [[ ! -e $RIG_DIR/firewalld ]]; then
    mkdir "$RIG_DIR/firewalld"
    echo DefaultZone=public > "$RIG_DIR/firewalld/firewalld.conf"
  fi
  # shellcheck disable=SC2016 # expanded in there
  manager firewalld sh -ec 'mount --bind "$1" /etc/firewalld; exec /usr/sbin/firewalld --nofork --nopid' sh "$RIG_DIR/firewalld"
  wait_until 60 quietly on_host firewall-cmd --state
}

# stop_managers — the end of those that run, and of what they have written.
stop_managers() {
  local name
  for name in networkd nm firewalld bus; do [[ ! -e $RIG_DIR/$name.pid ]] || rig_stop "$name"; done
  rm -rf "$RIG_DIR/nm" "$RIG_DIR/firewalld"
  on_host rm -rf /run/dbus /run/systemd /run/NetworkManager /run/firewalld
}

# quietly CMD… — whether it succeeds.
quietly() { "$@" > /dev/null 2>&1; }

# nm_says DEVICE STATE — it is that, to NetworkManager.
nm_says() { [[ $(on_host nmcli -g GENERAL.STATE device show "$1" 2> /dev/null) == *" ($2)" ]]; }

# networkd_says LINK STATE — it is that, to systemd-networkd.
networkd_says() { [[ $(on_host networkctl --json=short list 2> /dev/null | jq -r --arg name "$1" '.Interfaces[] | select(.Name == $name).AdministrativeState') == "$2" ]]; }
