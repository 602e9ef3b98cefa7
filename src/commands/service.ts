import { PipeworkError, usageError } from '../model/errors'
import { validateAllowGlobs } from '../model/labels'
import { shellQuote } from '../model/shell'
import { listWatchedFiles, readWatchedFiles } from '../operations/watch/files'
import { executePlan } from '../plan/execute'
import { formatScript, formatStep } from '../plan/script'
import { type Plan, planSteps, type RunCommand } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { System } from '../system/types'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'
import { formatUnit, WATCH_UNIT, WATCH_UNIT_FILE } from '../ui/systemd-unit'

/** Stands for the guest: no step of these plans runs inside one. */
const NO_GUEST: Guest = { kind: 'netns', name: 'none', nsPath: '/proc/self/ns/net' }

const ACTIONS: Readonly<Record<string, (call: CommandContext) => Promise<CommandOutcome>>> = {
  install: installService,
  remove: removeService,
  status: showServiceStatus,
}

/** Makes, removes or shows the systemd unit that runs a watch. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const [action = ''] = call.positionals
  const perform = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined
  if (perform === undefined)
    throw usageError(
      action === '' ? 'service: install, remove or status?' : `service '${action}' is not install, remove or status`,
      'pipework service install [file …] [--labels] [--allow glob]… [--now]',
    )
  validateSystemdRunning(call)
  return perform(call)
}

/** As sd_booted(3) does. */
function validateSystemdRunning({ system }: CommandContext): void {
  if (system.inode('/run/systemd/system') !== undefined) return
  const command = [...system.selfCommand, 'watch'].map(shellQuote).join(' ')
  throw new PipeworkError('systemd does not run this machine, and nobody else would read its unit', {
    hint: `Let what starts your services run, after Docker and with SIGTERM to end it:\n${command}`,
  })
}

const systemctl = (...words: readonly string[]): RunCommand => ({
  kind: 'run',
  in: 'host',
  argv: ['systemctl', '--quiet', ...words],
})

/** The words of the watch, with the paths of files as they are from everywhere. Rejects files with mistakes. */
async function toWatchArgs(call: CommandContext): Promise<readonly string[]> {
  const [, ...files] = call.positionals
  const { system } = call
  for (const file of files)
    if (!file.startsWith('/'))
      throw usageError(`'${file}' is not an absolute path`, 'A service runs in no directory of yours: begin it with /.')
  const missing = files.find((file) => system.read(file) === undefined && system.list(file) === undefined)
  if (missing !== undefined)
    throw usageError(
      `there is no file '${missing}'`,
      'Give the path of one that pipework save has written, or that you have.',
    )
  const hasLabels = call.hasFlag('labels') || call.hasFlag('env-compat')
  const all = listWatchedFiles(files, system)
  if (!hasLabels && all.length === 0)
    throw usageError(
      'there is nothing to watch',
      'Name a file, put one into /etc/pipework (its name ends in .pipework), or let labels ask: --labels.',
    )
  validateAllowGlobs(call.stringOptions('allow'))
  await readWatchedFiles(all, call)
  return [
    ...files,
    ...(call.hasFlag('labels') ? ['--labels'] : []),
    ...call.stringOptions('allow').map((glob) => `--allow=${glob}`),
    ...(call.hasFlag('env-compat') ? ['--env-compat'] : []),
  ]
}

/** A service has a /tmp of its own, in which nothing of ours is. */
function validateVisiblePaths(paths: readonly string[]): void {
  const hidden = paths.find((path) => /^\/(var\/)?tmp(\/|$)/.test(path))
  if (hidden !== undefined)
    throw usageError(`a service does not see '${hidden}'`, 'Put it elsewhere, like /usr/local/bin or /etc/pipework.')
}

/** What systemd knows of the unit. */
interface UnitState {
  readonly isLoaded: boolean
  readonly isEnabled: boolean
  readonly isActive: boolean
  /** `active (running)`. */
  readonly state: string
  /** What the watch says of itself. */
  readonly says: string
}

async function readUnitState(system: System): Promise<UnitState> {
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

async function installService(call: CommandContext): Promise<CommandOutcome> {
  const { system } = call
  const [node, script] = system.selfCommand
  const words = await toWatchArgs(call)
  validateVisiblePaths([node, script, ...words])
  const text = formatUnit({ node, script, args: words })
  validateRoot(call)
  const [before, state] = [system.read(WATCH_UNIT_FILE), await readUnitState(system)]
  const isSame = before === text.trimEnd()
  const restart = systemctl('restart', WATCH_UNIT)
  const plan = planSteps(
    !isSame && {
      description: `write ${WATCH_UNIT_FILE}`,
      command: { kind: 'file', in: 'host', path: WATCH_UNIT_FILE, text: text.trimEnd(), readers: 'everybody' },
      // What ran by the old unit runs again only when systemd has read that again.
      undo: [
        {
          kind: 'file',
          in: 'host',
          path: WATCH_UNIT_FILE,
          readers: 'everybody',
          text: before,
        },
        RELOAD_STEP.command,
        ...(call.hasFlag('now') && state.isActive ? [restart] : []),
      ],
    },
    !isSame && RELOAD_STEP,
    !state.isEnabled && {
      description: `start ${WATCH_UNIT} with the machine, and with the engines`,
      command: systemctl('enable', WATCH_UNIT),
      undo: systemctl('disable', WATCH_UNIT),
    },
    call.hasFlag('now') &&
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
  const next = call.hasFlag('now') || state.isActive ? [] : [`  start it now: systemctl start ${WATCH_UNIT}`]
  return applyServicePlan(plan, call, [
    'the service is installed',
    '  see what it does: journalctl -u pipework',
    ...next,
  ])
}

async function removeService(call: CommandContext): Promise<CommandOutcome> {
  const { system } = call
  validateRoot(call)
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
  return applyServicePlan(plan, call, ['the service is removed; what is attached stays'])
}

async function showServiceStatus({ system }: CommandContext): Promise<CommandOutcome> {
  const { isLoaded, isEnabled, isActive, state, says } = await readUnitState(system)
  const enabled = isEnabled ? 'starts with the machine' : 'does not start with the machine'
  const text = isLoaded
    ? `${WATCH_UNIT}: ${state}, ${enabled}${says === '' ? '' : `; ${says}`}\n`
    : 'the service is not installed: pipework service install\n'
  return {
    text,
    json: { ok: true, installed: isLoaded, enabled: isEnabled, active: isActive, state, says },
    exitCode: isActive ? 0 : 1,
    printWhenQuiet: true,
  }
}

async function applyServicePlan(plan: Plan, call: CommandContext, done: readonly string[]): Promise<CommandOutcome> {
  const steps = plan.map(({ description }) => description)
  if (call.hasFlag('dry-run')) {
    const script = formatScript({ plan, words: ['service', ...call.positionals] })
    return { text: script, json: { ok: true, dryRun: true, steps, script }, printWhenQuiet: true }
  }
  await executePlan(plan, {
    ...{ system: call.system, guest: NO_GUEST, netns: '', interrupt: call.io.interrupt },
    onStep: call.hasFlag('verbose') ? (step) => call.io.err(formatStep(step)) : undefined,
  })
  const changed = plan.length > 0
  const lines = changed ? [...done, ...steps.map((why) => `  did: ${why}`)] : [`${done[0]} already; nothing changed`]
  return { text: lines.map((line) => `${line}\n`).join(''), json: { ok: true, changed, unit: WATCH_UNIT_FILE, steps } }
}
