import { PipeworkError, usageError } from '../model/errors'
import { validateAllowGlobs } from '../model/labels'
import { shellQuote } from '../model/shell'
import { executePlan } from '../plan/execute'
import { type Plan, planSteps, type RunCommand } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { System } from '../system/types'
import { formatUnit, WATCH_UNIT, WATCH_UNIT_FILE } from './systemd-unit'
import type { ChangeOptions } from './types'
import type { ReadOptions } from './up/read-files'
import { listWatchedFiles, nothingToWatchError, readWatchedFiles } from './watch/files'
import type { LabelRules } from './watch/labels'

// The steps of these plans run on the host only.
const NO_GUEST: Guest = { kind: 'netns', name: 'none', nsPath: '/proc/self/ns/net' }

/** The result of a change to the service. */
export interface ServiceChange {
  readonly plan: Plan
  /** Whether the service runs now. */
  readonly isRunning: boolean
}

/** Refuses unless systemd is running, detected like sd_booted(3). */
export function validateSystemdRunning(system: System): void {
  if (system.inode('/run/systemd/system') !== undefined) return
  const command = [...system.selfCommand, 'watch'].map(shellQuote).join(' ')
  throw new PipeworkError('systemd is not running here', {
    hint: `Let your init system run this after Docker, and stop it with SIGTERM:\n${command}`,
  })
}

const systemctl = (...words: readonly string[]): RunCommand => ({
  kind: 'run',
  in: 'host',
  argv: ['systemctl', '--quiet', ...words],
})

/** Builds the arguments of the watch. Rejects files with errors, and relative paths. */
export async function toWatchArgs(
  { files, rules }: { readonly files: readonly string[]; readonly rules: LabelRules },
  options: ReadOptions,
): Promise<readonly string[]> {
  const { system } = options
  for (const file of files)
    if (!file.startsWith('/'))
      throw usageError(
        `'${file}' is not an absolute path`,
        'A service has no working directory: begin the path with /.',
      )
  const missing = files.find((file) => system.read(file) === undefined && system.list(file) === undefined)
  if (missing !== undefined) throw usageError(`there is no file '${missing}'`, 'To write one: pipework save > FILE')
  const all = listWatchedFiles(files, system)
  if (!rules.labels && !rules.envCompat && all.length === 0) throw nothingToWatchError([])
  validateAllowGlobs(rules.allowed)
  await readWatchedFiles(all, options)
  return [
    ...files,
    ...(rules.labels ? ['--labels'] : []),
    ...rules.allowed.map((glob) => `--allow=${glob}`),
    ...(rules.envCompat ? ['--env-compat'] : []),
  ]
}

/** Refuses paths below /tmp: the service has its own (PrivateTmp=). */
export function validateVisiblePaths(paths: readonly string[]): void {
  const hidden = paths.find((path) => /^\/(var\/)?tmp(\/|$)/.test(path))
  if (hidden !== undefined)
    throw usageError(`a service does not see '${hidden}'`, 'Put it elsewhere, like /usr/local/bin or /etc/pipework.')
}

/** The state of the unit according to systemd. */
export interface UnitState {
  readonly isLoaded: boolean
  readonly isEnabled: boolean
  readonly isActive: boolean
  /** `active (running)`. */
  readonly state: string
  /** The status text of the watch. */
  readonly says: string
}

export async function readUnitState(system: System): Promise<UnitState> {
  const names = ['LoadState', 'ActiveState', 'SubState', 'UnitFileState', 'StatusText']
  const { code, stdout, stderr } = await system.run(['systemctl', 'show', WATCH_UNIT, `--property=${names.join(',')}`])
  if (code !== 0)
    throw new PipeworkError(`systemd cannot be asked: ${stderr.trim() || `exit code ${code}`}`, {
      hint: 'See what it says itself: systemctl status',
    })
  const of = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(stdout)?.[1] ?? ''
  return {
    isLoaded: of('LoadState') === 'loaded',
    isEnabled: of('UnitFileState') === 'enabled',
    isActive: ['active', 'reloading', 'activating'].includes(of('ActiveState')),
    state: `${of('ActiveState')} (${of('SubState')})`,
    says: of('StatusText'),
  }
}

const RELOAD_STEP = { description: 'let systemd read its units', command: systemctl('daemon-reload') } as const

/** Installs the service as requested. Throws usage errors. */
export async function installService(
  { args, now }: { readonly args: readonly string[]; readonly now: boolean },
  options: ChangeOptions,
): Promise<ServiceChange> {
  const { system } = options
  const [node, script] = system.selfCommand
  const text = formatUnit({ node, script, args })
  const [before, state] = [system.read(WATCH_UNIT_FILE), await readUnitState(system)]
  const isSame = before === text.trimEnd()
  const restart = systemctl('restart', WATCH_UNIT)
  const plan = planSteps(
    !isSame && {
      description: `write ${WATCH_UNIT_FILE}`,
      command: { kind: 'file', in: 'host', path: WATCH_UNIT_FILE, text: text.trimEnd(), readers: 'everybody' },
      // The service can only restart with the old unit after systemd has reloaded it.
      undo: [
        {
          kind: 'file',
          in: 'host',
          path: WATCH_UNIT_FILE,
          readers: 'everybody',
          text: before,
        },
        RELOAD_STEP.command,
        ...(now && state.isActive ? [restart] : []),
      ],
    },
    !isSame && RELOAD_STEP,
    !state.isEnabled && {
      description: `start ${WATCH_UNIT} with the machine, and with the engines`,
      command: systemctl('enable', WATCH_UNIT),
      undo: systemctl('disable', WATCH_UNIT),
    },
    now &&
      !(isSame && state.isActive) && {
        description: `start ${WATCH_UNIT} now`,
        command: restart,
        undo: state.isActive ? [] : systemctl('stop', WATCH_UNIT),
        explainFailure: () => ({
          message: `${WATCH_UNIT} does not start`,
          hint: `It says why: journalctl -u ${WATCH_UNIT} -n 20`,
        }),
      },
  )
  await runServicePlan(plan, options)
  return { plan, isRunning: now || state.isActive }
}

/** Stops the service and removes its unit. Attachments stay. */
export async function removeService(options: ChangeOptions): Promise<ServiceChange> {
  const { system } = options
  const [text, state] = [system.read(WATCH_UNIT_FILE), await readUnitState(system)]
  const plan = planSteps(
    state.isActive && {
      description: `stop ${WATCH_UNIT}`,
      command: systemctl('stop', WATCH_UNIT),
      undo: systemctl('start', WATCH_UNIT),
    },
    state.isEnabled && {
      description: `start ${WATCH_UNIT} with the machine no longer`,
      command: systemctl('disable', WATCH_UNIT),
      undo: systemctl('enable', WATCH_UNIT),
    },
    text !== undefined && {
      description: `remove ${WATCH_UNIT_FILE}`,
      command: { kind: 'file', in: 'host', path: WATCH_UNIT_FILE },
      undo: { kind: 'file', in: 'host', path: WATCH_UNIT_FILE, text, readers: 'everybody' },
    },
    text !== undefined && { ...RELOAD_STEP, undo: RELOAD_STEP.command },
  )
  await runServicePlan(plan, options)
  return { plan, isRunning: false }
}

async function runServicePlan(plan: Plan, { system, interrupt, dryRun, onStep }: ChangeOptions): Promise<void> {
  if (!dryRun) await executePlan(plan, { system, interrupt, onStep, guest: NO_GUEST, netns: '' })
}
