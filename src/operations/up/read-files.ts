import { formatAddress, subnetsOverlap } from '../../model/address'
import { type ParsedLine as FileLine, findErrorColumn, type LineError, parseLines } from '../../model/attachment-file'
import type { CommandLine, LineParser } from '../../model/command-line'
import { PipeworkError, usageError } from '../../model/errors'
import { fnv1aHash } from '../../model/hash'
import { needsForwarding } from '../../model/host-services'
import type { AttachRequest } from '../../model/request'
import { shellQuote } from '../../model/shell'
import type { System } from '../../system/types'

/** An attachment in a file, and its line. */
export interface AttachmentLine {
  readonly request: AttachRequest
  /** The path as typed. */
  readonly path: string
  readonly lineNumber: number
  /** The line's own --wait, in seconds. */
  readonly waitSeconds: number
}

/** An error and its file. */
interface FileMistake extends LineError {
  readonly path: string
}

/** `file:line` for messages. */
export function formatLocation({ path, lineNumber }: Pick<AttachmentLine, 'path' | 'lineNumber'>): string {
  return `${path}:${lineNumber}`
}

/** Options that apply to the whole run, not to a line. */
const RUN_OPTIONS = ['dry-run', 'verbose', 'quiet', 'json', 'help', 'version']

/** The tag of a file in records, derived from its real path. */
function fileTag(path: string): string {
  return fnv1aHash(path).slice(0, 8)
}

/** The tags of the typed paths. Throws when a file does not exist. */
export function listFileTags(paths: readonly string[], system: System): readonly string[] {
  return paths.map((path) => fileTag(system.realPath(path) ?? path))
}

/** How to read files: the system, and the parser for a line. */
export interface ReadOptions {
  readonly system: System
  readonly parseLine: LineParser
}

/** Reads all attachments in the files. Throws one error that lists every mistake with its file, line and column. */
export async function readAttachmentFiles(
  paths: readonly string[],
  options: ReadOptions,
): Promise<readonly AttachmentLine[]> {
  const { system } = options
  if (paths.length === 0)
    throw usageError('which file?', 'One like pipework save > lan.pipework writes; pipework up lan.pipework')
  const [attachments, mistakes]: [AttachmentLine[], FileMistake[]] = [[], []]
  const unique = [...new Set(paths)]
  for (const path of unique) {
    const text = system.read(path)
    if (text === undefined) throw unreadableFileError(path, system)
    const read = await parseAttachmentFile(text, path, options)
    attachments.push(...read.attachments)
    mistakes.push(...read.mistakes)
  }
  mistakes.push(...findConflicts(attachments))
  if (mistakes.length === 0) return shareBridgeAddresses(attachments)
  const sorted = mistakes.sort((a, b) => unique.indexOf(a.path) - unique.indexOf(b.path) || a.line - b.line)
  throw usageError(
    `${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`} in ${joinPaths(unique)}; nothing was changed`,
    sorted.map((it) => `${it.path}:${it.line}:${it.column}: ${it.message.replaceAll('\n', ' ')}`).join('\n'),
  )
}

/** Gives a bridge address from one line to all lines on that bridge, because guests are attached in any order. */
function shareBridgeAddresses(attachments: readonly AttachmentLine[]): readonly AttachmentLine[] {
  return attachments.map((line) => {
    const { request } = line
    const { hostif, addresses, hostServices } = request
    if (hostServices.bridgeAddresses.length > 0 || !needsForwarding(request)) return line
    const bridgeAddresses = attachments
      .flatMap((other) => (other.request.hostif === hostif ? other.request.hostServices.bridgeAddresses : []))
      .filter((own) => addresses.some((it) => it.gateway === own.ip || subnetsOverlap(it, own)))
    return { ...line, request: { ...request, hostServices: { ...hostServices, bridgeAddresses } } }
  })
}

/** Explains why the file is unreadable, with a hint. */
function unreadableFileError(path: string, system: System): PipeworkError {
  if (system.list(path) !== undefined)
    return new PipeworkError(`'${path}' is a directory`, {
      hint: `Name the files in it, like ${path.replace(/\/$/, '')}/*.pipework`,
    })
  if (system.inode(path) !== undefined)
    return new PipeworkError(`the file '${path}' cannot be read`, { hint: `Who may? ls -l ${shellQuote(path)}` })
  return new PipeworkError(`there is no file '${path}'`, {
    hint: path === '-' ? 'Standard input is /dev/stdin.' : 'pipework save > lan.pipework writes one.',
  })
}

function joinPaths(paths: readonly string[]): string {
  return paths.map((path) => `'${path}'`).join(' and ')
}

async function parseAttachmentFile(
  text: string,
  path: string,
  { system, parseLine }: ReadOptions,
): Promise<{ readonly attachments: readonly AttachmentLine[]; readonly mistakes: readonly FileMistake[] }> {
  const { lines, errors } = parseLines(text, system.env)
  const [attachments, mistakes]: [AttachmentLine[], FileMistake[]] = [[], errors.map((it) => ({ ...it, path }))]
  const file = fileTag(system.realPath(path) ?? path)
  for (const line of lines) {
    try {
      attachments.push({ ...(await parseAttachmentLine(line, file, parseLine)), path, lineNumber: line.number })
    } catch (error) {
      if (!(error instanceof PipeworkError)) throw error
      const { message, hint } = error
      const column = findErrorColumn(message, line.words)
      mistakes.push({ path, line: line.number, column, message: hint === undefined ? message : `${message}. ${hint}` })
    }
  }
  return { attachments, mistakes }
}

/** Parses the attachment of a line. Rejects with usage errors. */
async function parseAttachmentLine(
  line: FileLine,
  file: string,
  parseLine: LineParser,
): Promise<Omit<AttachmentLine, 'path' | 'lineNumber'>> {
  const words = line.words.map(({ text }) => text)
  if (words[0] === 'pipework' || words[0] === 'sudo')
    throw usageError(`unexpected argument '${words[0]}'`, 'A line begins after the word pipework.')
  const parsed = await parseLine(words)
  validateLineOptions(parsed)
  const request = { ...parsed.toRequest(), file }
  return { request, waitSeconds: parsed.waitSeconds }
}

function validateLineOptions({ command, options }: CommandLine): void {
  if (command !== '')
    throw usageError(
      `'${command}' is a command, and a file has attachments only`,
      'An interface of that name: -- first.',
    )
  if (options.includes('confirm'))
    throw usageError(
      "'--confirm' waits for an answer, which a line in a file cannot get",
      'Connect the uplink first: pipework uplink add <bridge> <nic> --confirm SECONDS',
    )
  const option = options.find((it) => RUN_OPTIONS.includes(it))
  if (option !== undefined)
    throw usageError(`'--${option}' applies to the whole run`, `Give it once: pipework up --${option} …`)
}

/** Finds contradicting lines: one interface twice, or one address twice on one LAN. */
function findConflicts(attachments: readonly AttachmentLine[]): readonly FileMistake[] {
  const seen = new Map<string, AttachmentLine>()
  return attachments.flatMap((line) => {
    const { request, path, lineNumber } = line
    const { guest, ifname, hostif, addresses, tag, probe } = request
    const link = { key: `${guest.kind ?? ''}:${guest.name} ${ifname}`, what: `'${ifname}' of '${guest.name}'` }
    // Dummies have no LAN, so their addresses may repeat; --no-probe permits duplicates.
    const isAsked = probe && hostif !== 'dummy'
    const ips = (isAsked ? addresses : []).map((address) => ({
      key: `${hostif}@${tag ?? ''} ${address.ip}`,
      what: `'${formatAddress(address)}' on '${hostif}'`,
    }))
    return [link, ...ips].flatMap(({ key, what }) => {
      const earlier = seen.get(key)
      seen.set(key, earlier ?? line)
      const message = `${what} is already in ${earlier === undefined ? '' : formatLocation(earlier)}`
      return earlier === undefined ? [] : [{ path, line: lineNumber, column: 1, message }]
    })
  })
}
