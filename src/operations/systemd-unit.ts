/** The command line of the unit. */
export interface UnitExecStart {
  /** Absolute: a service does not have the user's PATH. */
  readonly node: string
  readonly script: string
  /** The arguments after `pipework watch`. */
  readonly args: readonly string[]
}

/** The unit's name and file: units of the administrator are in /etc/systemd/system (systemd.unit(5)). */
export const WATCH_UNIT = 'pipework.service'
export const WATCH_UNIT_FILE = `/etc/systemd/system/${WATCH_UNIT}`

/** Quotes a word for ExecStart=, and doubles specifiers and variables (systemd.service(5)). */
function quoteForSystemd(word: string): string {
  const escaped = word
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$')
    .replaceAll('\n', '\\n')
  return /^[\w./:@=,+-]+$/.test(word) ? word : `"${escaped}"`
}

/**
 * The service that runs the watch. It starts after the engines, and no engine waits for it. The sandbox denies
 * everything that the watch does not need; each exception is explained beside it.
 */
export function formatUnit({ node, script, args }: UnitExecStart): string {
  const command = [node, script, 'watch', ...args].map(quoteForSystemd).join(' ')
  return `# Written by: pipework service install
[Unit]
Description=Network attachments of containers, kept by pipework
After=network.target docker.service podman.service openvswitch-switch.service
PartOf=docker.service podman.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
ExecStart=${command}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=2min
Restart=on-failure
RestartSec=5
# An error in a file stays until the file is changed.
RestartPreventExitStatus=2
# DHCP clients outlive a restart of the watch, as the leases do that they keep.
KillMode=process

# Namespaces of containers: to enter them (SYS_ADMIN), to find them by their processes (SYS_PTRACE), to change what is
# in them (NET_ADMIN). DHCP clients and arping: NET_RAW, NET_BIND_SERVICE, and an own user (SETUID, SETGID, SYS_CHROOT,
# CHOWN, KILL). Sockets and files of other users: DAC_OVERRIDE.
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SYS_CHROOT CAP_CHOWN CAP_KILL
NoNewPrivileges=yes
# /run, /proc/sys/net and /sys stay writable: network namespaces, locks and settings are there.
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# pid: a client of DHCP and what it starts end with their keeper.
RestrictNamespaces=net mnt pid
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6 AF_PACKET
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
# PartOf= ends it when Docker or Podman is stopped, and this brings it back with them.
WantedBy=multi-user.target docker.service podman.service
`
}
