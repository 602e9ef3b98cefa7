import { PipeworkError, usageError } from '../model/errors'
import { refuseLists } from '../model/labels'
import { listFiles, readBook } from '../operations/watch/files'
import { execute } from '../plan/execute'
import { type Plan, quote, type RunCommand, rows } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { Host } from '../system/types'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'
import { formatStep, toScript } from '../ui/report'
import { formatUnit, UNIT, UNIT_FILE } from '../ui/systemd-unit'

/** Stands for the guest: no step of these plans runs inside one. */
const NOBODY: Guest = { kind: 'netns', name: 'none', nsPath: '/proc/self/ns/net' }

const ACTIONS: Readonly<Record<string, (call: Call) => Promise<Outcome>>> = { install, remove, status }

/** Makes, removes or shows the systemd unit that runs a watch. */
export async function run(call: Call): Promise<Outcome> {
  const [action = ''] = call.words
  const perform = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined
  if (perform === undefined)
    throw usageError(
      action === '' ? 'service: install, remove or status?' : `service '${action}' is not install, remove or status`,
      'pipework service install [file …] [--labels] [--allow glob]… [--now]',
    )
  refuseWithoutSystemd(call)
  return perform(call)
}

/** As sd_booted(3) does. */
function refuseWithoutSystemd({ host }: Call): void {
  if (host.inode('/run/systemd/system') !== undefined) return
  const command = [...host.program, 'watch'].map(quote).join(' ')
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
async function toWatchWords(call: Call): Promise<readonly string[]> {
  const [, ...files] = call.words
  const { host } = call
  for (const file of files)
    if (!file.startsWith('/'))
      throw usageError(`'${file}' is not an absolute path`, 'A service runs in no directory of yours: begin it with /.')
  const missing = files.find((file) => host.read(file) === undefined && host.list(file) === undefined)
  if (missing !== undefined)
    throw usageError(
      `there is no file '${missing}'`,
      'Give the path of one that pipework save has written, or that you have.',
    )
  const hasLabels = call.flag('labels') || call.flag('env-compat')
  const all = listFiles(files, host)
  if (!hasLabels && all.length === 0)
    throw usageError(
      'there is nothing to watch',
      'Name a file, put one into /etc/pipework (its name ends in .pipework), or let labels ask: --labels.',
    )
  refuseLists(call.texts('allow'))
  await readBook(all, call)
  return [
    ...files,
    ...(call.flag('labels') ? ['--labels'] : []),
    ...call.texts('allow').map((glob) => `--allow=${glob}`),
    ...(call.flag('env-compat') ? ['--env-compat'] : []),
  ]
}

/** A service has a /tmp of its own, in which nothing of ours is. */
function refuseHidden(paths: readonly string[]): void {
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

async function readState(host: Host): Promise<UnitState> {
  const names = ['LoadState', 'ActiveState', 'SubState', 'UnitFileState', 'StatusText']
  const { code, stdout, stderr } = await host.run(['systemctl', 'show', UNIT, `--property=${names.join(',')}`])
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

const RELOAD = { why: 'let systemd read its units', command: systemctl('daemon-reload') } as const

async function install(call: Call): Promise<Outcome> {
  const { host } = call
  const [node, script] = host.program
  const words = await toWatchWords(call)
  refuseHidden([node, script, ...words])
  const text = formatUnit({ node, script, words })
  refuseUnlessRoot(call)
  const [before, state] = [host.read(UNIT_FILE), await readState(host)]
  const isSame = before === text.trimEnd()
  const restart = systemctl('restart', UNIT)
  const plan = rows(
    !isSame && {
      why: `write ${UNIT_FILE}`,
      command: { kind: 'file', in: 'host', path: UNIT_FILE, text: text.trimEnd(), readers: 'everybody' },
      // What ran by the old unit runs again only when systemd has read that again.
      undo: [
        {
          kind: 'file',
          in: 'host',
          path: UNIT_FILE,
          readers: 'everybody',
          text: before,
        },
        RELOAD.command,
        ...(call.flag('now') && state.isActive ? [restart] : []),
      ],
    },
    !isSame && RELOAD,
    !state.isEnabled && {
      why: `start ${UNIT} with the machine, and with the engines`,
      command: systemctl('enable', UNIT),
      undo: systemctl('disable', UNIT),
    },
    call.flag('now') &&
      !(isSame && state.isActive) && {
        why: `start ${UNIT} now`,
        command: restart,
        undo: state.isActive ? [] : systemctl('stop', UNIT),
        explain: () => ({ message: `${UNIT} does not start`, hint: `It says why: journalctl -u ${UNIT} -n 20` }),
      },
  )
  const next = call.flag('now') || state.isActive ? [] : [`  start it now: systemctl start ${UNIT}`]
  return perform(plan, call, ['the service is installed', '  see what it does: journalctl -u pipework', ...next])
}

async function remove(call: Call): Promise<Outcome> {
  const { host } = call
  refuseUnlessRoot(call)
  const [text, state] = [host.read(UNIT_FILE), await readState(host)]
  const plan = rows(
    state.isActive && {
      why: `stop ${UNIT}`,
      command: systemctl('stop', UNIT),
      undo: systemctl('start', UNIT),
    },
    state.isEnabled && {
      why: `start ${UNIT} with the machine no longer`,
      command: systemctl('disable', UNIT),
      undo: systemctl('enable', UNIT),
    },
    text !== undefined && {
      why: `remove ${UNIT_FILE}`,
      command: { kind: 'file', in: 'host', path: UNIT_FILE },
      undo: { kind: 'file', in: 'host', path: UNIT_FILE, text, readers: 'everybody' },
    },
    text !== undefined && { ...RELOAD, undo: RELOAD.command },
  )
  return perform(plan, call, ['the service is removed; what is attached stays'])
}

async function status({ host }: Call): Promise<Outcome> {
  const { isLoaded, isEnabled, isActive, state, says } = await readState(host)
  const enabled = isEnabled ? 'starts with the machine' : 'does not start with the machine'
  const text = isLoaded
    ? `${UNIT}: ${state}, ${enabled}${says === '' ? '' : `; ${says}`}\n`
    : 'the service is not installed: pipework service install\n'
  return {
    text,
    json: { ok: true, installed: isLoaded, enabled: isEnabled, active: isActive, state, says },
    exitCode: isActive ? 0 : 1,
    wanted: true,
  }
}

async function perform(plan: Plan, call: Call, done: readonly string[]): Promise<Outcome> {
  const steps = plan.map(({ why }) => why)
  if (call.flag('dry-run')) {
    const script = toScript({ plan, words: ['service', ...call.words] })
    return { text: script, json: { ok: true, dryRun: true, steps, script }, wanted: true }
  }
  await execute(plan, {
    ...{ host: call.host, guest: NOBODY, netns: '', interrupt: call.io.interrupt },
    onStep: call.flag('verbose') ? (step) => call.io.err(formatStep(step)) : undefined,
  })
  const changed = plan.length > 0
  const lines = changed ? [...done, ...steps.map((why) => `  did: ${why}`)] : [`${done[0]} already; nothing changed`]
  return { text: lines.map((line) => `${line}\n`).join(''), json: { ok: true, changed, unit: UNIT_FILE, steps } }
}
