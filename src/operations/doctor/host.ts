import type { Finding } from './findings'
import type { DoctorState } from './state'

/** What pipework needs a program for, and its Debian package. */
export const DOCTOR_TOOLS: Readonly<Record<string, { readonly from: string; readonly why: string }>> = {
  ip: { from: 'iproute2', why: 'everything' },
  nsenter: { from: 'util-linux', why: 'running programs in guests' },
  sysctl: { from: 'procps', why: 'the settings of a new interface' },
  ping: { from: 'iputils-ping', why: 'the probe of this command' },
  arping: { from: 'iputils-arping', why: 'finding out whether an address is taken' },
  nft: { from: 'nftables', why: 'reading the rules of nftables' },
  ethtool: { from: 'ethtool', why: '--tx-offload' },
}

/** What pipework needs a link kind for, and its kernel module. */
export const LINK_KIND_MODULES: Readonly<Record<string, { readonly module: string; readonly why: string }>> = {
  veth: { module: 'veth', why: 'every bridge' },
  bridge: { module: 'bridge', why: 'bridges' },
  macvlan: { module: 'macvlan', why: 'NICs' },
  ipvlan: { module: 'ipvlan', why: '--kind ipvlan' },
  vlan: { module: '8021q', why: '@vlan on a NIC' },
  dummy: { module: 'dummy', why: 'pipework dummy' },
}

/** Finds missing programs and kernel features, and unsuitable settings of the host. */
export function findMachineProblems({ machine }: DoctorState): readonly Finding[] {
  const { missingTools, missingKinds, docker, ovs } = machine
  const found: Finding[] = []
  if (docker !== undefined)
    found.push({
      id: docker.kind === 'remote' ? 'docker-remote' : 'docker-rootless',
      severity: 'warning',
      line:
        docker.kind === 'remote'
          ? 'containers are looked for on another machine, and can be attached there only'
          : 'Docker is rootless: its containers are behind a network of their own, which bridges of the host do not reach',
      evidence: docker.evidence,
      command: docker.command,
      about: [],
    })
  if (ovs !== undefined)
    found.push({
      id: 'ovs-down',
      severity: 'error',
      line: ovs.message,
      evidence: 'something of ours is attached to a bridge of Open vSwitch',
      command: ovs.hint.replace(/^[^:]*: /, ''),
      about: [],
    })
  if (missingKinds.length > 0) found.push(describeMissingKinds(missingKinds))
  if (missingTools.length > 0) found.push(describeMissingTools(missingTools))
  return found
}

function describeMissingKinds(kinds: readonly string[]): Finding {
  const of = kinds.flatMap((kind) => LINK_KIND_MODULES[kind] ?? [])
  return {
    id: 'kernel-missing',
    severity: kinds.includes('veth') || kinds.includes('bridge') ? 'error' : 'note',
    line: `this kernel has no ${kinds.join(', ')}: without it there is no ${of.map(({ why }) => why).join(', no ')}`,
    evidence: `ip link add type ${kinds[0]}: Unknown device type`,
    command: of.map(({ module }) => `modprobe ${module}`).join(' && '),
    advice:
      'Where the modules are missing as well: apt install linux-modules-extra-$(uname -r) (Ubuntu), or a kernel that is not a cloud kernel (Debian).',
    about: [],
  }
}

function describeMissingTools(tools: readonly string[]): Finding {
  const of = tools.map((tool) => ({ tool, ...DOCTOR_TOOLS[tool] }))
  const packages = [...new Set(of.flatMap(({ from }) => from ?? []))]
  return {
    id: 'tool-missing',
    severity: tools.includes('ip') || tools.includes('nsenter') ? 'error' : 'note',
    line: `not installed: ${of.map(({ tool, why }) => `${tool} (for ${why})`).join(', ')}`,
    evidence: 'not on the PATH',
    command: `apt install ${packages.join(' ')}`,
    about: [],
  }
}
