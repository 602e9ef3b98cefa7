import type { CommandExample, CommandSpec, CommandTable } from '../command-spec'
import { formatOption, groupOptions, type OptionGroup, toSentence } from '.'

/** Escapes text for roff: its special characters, and non-ASCII characters by their names (groff_char(7)). */
function toRoff(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '\\&...')
    .replaceAll('’', '\\(cq')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
  // A dot or quote at the start of a line would be a request.
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped
}

const roffBold = (text: string) => `\\fB${toRoff(text)}\\fR`
const roffHeading = (title: string) => `.SH ${title}`

/** A term and what it means. */
function roffEntry(term: string, text: string): readonly string[] {
  return ['.TP', term, toRoff(text)]
}

/** Options and fixed words bold, placeholders in italics. */
function roffTerm(text: string): string {
  return text
    .split(/(<[^>]*>)/)
    .filter(Boolean)
    .map((part) => (part.startsWith('<') ? `\\fI${toRoff(part.slice(1, -1))}\\fR` : roffBold(part)))
    .join('')
}

function roffOptions({ options }: OptionGroup): readonly string[] {
  return options.flatMap(([name, spec]) => roffEntry(roffTerm(formatOption(name, spec)), toSentence(spec.describe)))
}

function roffExamples(examples: readonly CommandExample[]): readonly string[] {
  return examples.flatMap(({ line, does }) => [
    '.PP',
    toRoff(toSentence(does)),
    '.PP',
    '.in +4n',
    '.nf',
    roffBold(line),
    '.fi',
    '.in',
  ])
}

function roffSynopsis({ synopsis }: CommandSpec): readonly string[] {
  return synopsis.split(' | ').flatMap((form) => ['.PP', `${roffBold('pipework')} ${toRoff(form)}`])
}

function roffCommand(command: CommandSpec, table: CommandTable): readonly string[] {
  const groups = groupOptions(command, { ...table, options: {} })
  return [
    `.SS ${toRoff(command.word)}`,
    ...roffSynopsis(command),
    '.PP',
    toRoff(toSentence(command.describe)),
    ...groups.flatMap(roffOptions),
    ...roffExamples(command.examples),
  ]
}

const DESCRIPTION = [
  'Gives a running container, or any network namespace, an interface of its own: on a Linux or Open vSwitch bridge, on a NIC, or a dummy; with addresses, routes, VLANs and a MAC address.',
  'A plan is made before anything is changed, and everything that can be refused is refused then. When a step fails, the steps before it are rolled back. Running the same command again changes nothing; other arguments update the interface.',
  'Each link carries its own record in its alias: there is no state file.',
]

const EXIT_STATUS: readonly (readonly [string, string])[] = [
  ['0', 'Done, or already so.'],
  ['1', 'Refused or failed, and the host is unchanged.'],
  ['2', 'Wrong usage.'],
  ['3', 'Failed, and something is left: each leftover is named, with the command that removes it.'],
  ['124', 'Timed out.'],
]

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['DOCKER_HOST', 'Where the Docker Engine listens; DOCKER_CONTEXT and DOCKER_CONFIG are used, too.'],
  ['CONTAINER_HOST', 'Where Podman listens.'],
  ['CONTAINERD_NAMESPACE', 'The namespace of containerd that nerdctl looks into.'],
  ['OVS_RUNDIR', 'Where Open vSwitch has its sockets.'],
  ['NO_COLOR', 'When it is set, nothing is printed in bold.'],
  ['LC_ALL, LC_CTYPE, LANG', 'Characters beyond ASCII are printed where the locale has UTF-8.'],
]

/** The manual page pipework(8), generated from the command table. */
export function formatManual(table: CommandTable, version: string): string {
  const [main] = table.commands.filter(({ word }) => word === '')
  if (main === undefined) throw new RangeError('the table has no main form')
  const others = table.commands.filter(({ word, hidden }) => word !== '' && hidden !== true)
  const groups = groupOptions(main, table)
  const lines = [
    '.\\" Made from the command table of pipework: npm run build.',
    `.TH PIPEWORK 8 "" "pipework ${version}" "System Administration"`,
    // No hyphenation and no stretched blanks in command lines.
    '.ad l',
    '.nh',
    roffHeading('NAME'),
    'pipework \\- give a running container a place on the network',
    roffHeading('SYNOPSIS'),
    ...roffSynopsis(main),
    ...others.flatMap(roffSynopsis),
    roffHeading('DESCRIPTION'),
    ...DESCRIPTION.flatMap((text) => ['.PP', toRoff(text)]),
    ...Object.entries(main.argumentHelp ?? {}).flatMap(([term, text]) => roffEntry(roffTerm(term), toSentence(text))),
    roffHeading('OPTIONS'),
    ...groups.flatMap((group) => [`.SS ${toRoff(group.title)}`, ...roffOptions(group)]),
    roffHeading('COMMANDS'),
    ...others.flatMap((command) => roffCommand(command, table)),
    roffHeading('EXIT STATUS'),
    ...EXIT_STATUS.flatMap(([code, text]) => roffEntry(roffBold(code), text)),
    '.PP',
    toRoff('route, rule, tc and exec return the exit status of their program.'),
    roffHeading('ENVIRONMENT'),
    ...ENVIRONMENT.flatMap(([name, text]) => roffEntry(roffBold(name), text)),
    roffHeading('EXAMPLES'),
    ...roffExamples(main.examples),
    roffHeading('SEE ALSO'),
    ['ip(8)', 'ip\\-link(8)', 'ip\\-netns(8)', 'bridge(8)', 'tc(8)', 'ovs\\-vsctl(8)', 'docker(1)', 'podman(1)']
      .map((it) => it.replace(/^(.*)(\(\d\))$/, '\\fB$1\\fR$2'))
      .join(', '),
  ]
  return lines.map((line) => `${line}\n`).join('')
}
