import { readRequest } from '../../commands/attach'
import { areOverlapping, fingerprint, formatAddress, parseSeconds } from '../../model/address'
import { columnOf, type Line as FileLine, type Mistake, readLines } from '../../model/attachment-file'
import { PipeworkError, usageError } from '../../model/errors'
import { isForwarded } from '../../model/host-services'
import type { AttachRequest } from '../../model/request'
import { quote } from '../../plan/step'
import type { Host } from '../../system/types'
import type { Call, Line } from '../../ui/command'

/** An attachment that a file asks for, and the line that does. */
export interface Wish {
  readonly request: AttachRequest
  /** The file as it was typed. */
  readonly path: string
  readonly line: number
  /** Seconds that the line itself would wait for the guest. */
  readonly patience: number
}

/** A mistake, and the file that it is in. */
interface Slip extends Mistake {
  readonly path: string
}

/** `file:line`, as messages name it. */
export function placeOf({ path, line }: Pick<Wish, 'path' | 'line'>): string {
  return `${path}:${line}`
}

/** Options that speak of the run as a whole. */
const OF_THE_RUN = ['dry-run', 'verbose', 'quiet', 'json', 'help', 'version']

/** How a record calls a file: by where it really is. */
function tagOf(path: string): string {
  return fingerprint(path).slice(0, 8)
}

/** The paths that were typed, as their records call them. Throws when one cannot be found. */
export function listTags({ words, host }: Pick<Call, 'words' | 'host'>): readonly string[] {
  return words.map((path) => tagOf(host.resolve(path) ?? path))
}

/** All that the files ask for. Throws one error with all mistakes in all of them, each with file, line and column. */
export async function readFiles(call: Pick<Call, 'words' | 'host' | 'parse'>): Promise<readonly Wish[]> {
  const { words: paths, host } = call
  if (paths.length === 0)
    throw usageError('which file?', 'One like pipework save > lan.pipework writes; pipework up lan.pipework')
  const [wishes, slips]: [Wish[], Slip[]] = [[], []]
  const unique = [...new Set(paths)]
  for (const path of unique) {
    const text = host.read(path)
    if (text === undefined) throw explainUnread(path, host)
    const read = await readFile(text, path, call)
    wishes.push(...read.wishes)
    slips.push(...read.slips)
  }
  slips.push(...findClashes(wishes))
  if (slips.length === 0) return shareBridgeAddresses(wishes)
  const sorted = slips.sort((a, b) => unique.indexOf(a.path) - unique.indexOf(b.path) || a.line - b.line)
  throw usageError(
    `${slips.length === 1 ? 'a mistake' : `${slips.length} mistakes`} in ${join(unique)}; nothing was changed`,
    sorted.map((it) => `${it.path}:${it.line}:${it.column}: ${it.message.replaceAll('\n', ' ')}`).join('\n'),
  )
}

/** What one line gives its bridge is there for the others that need it, whichever guest comes first. */
function shareBridgeAddresses(wishes: readonly Wish[]): readonly Wish[] {
  return wishes.map((wish) => {
    const { request } = wish
    const { hostif, addresses, outside } = request
    if (outside.bridgeAddresses.length > 0 || !isForwarded(request)) return wish
    const bridgeAddresses = wishes
      .flatMap((other) => (other.request.hostif === hostif ? other.request.outside.bridgeAddresses : []))
      .filter((own) => addresses.some((it) => it.gateway === own.ip || areOverlapping(it, own)))
    return { ...wish, request: { ...request, outside: { ...outside, bridgeAddresses } } }
  })
}

/** Why there is no text, and what to do about it. */
function explainUnread(path: string, host: Host): PipeworkError {
  if (host.list(path) !== undefined)
    return new PipeworkError(`'${path}' is a directory`, {
      hint: `Name the files in it, like ${path.replace(/\/$/, '')}/*.pipework`,
    })
  if (host.inode(path) !== undefined)
    return new PipeworkError(`the file '${path}' cannot be read`, { hint: `Who may? ls -l ${quote(path)}` })
  return new PipeworkError(`there is no file '${path}'`, {
    hint: path === '-' ? 'Standard input is /dev/stdin.' : 'pipework save > lan.pipework writes one.',
  })
}

function join(paths: readonly string[]): string {
  return paths.map((path) => `'${path}'`).join(' and ')
}

async function readFile(
  text: string,
  path: string,
  call: Pick<Call, 'host' | 'parse'>,
): Promise<{ readonly wishes: readonly Wish[]; readonly slips: readonly Slip[] }> {
  const { lines, mistakes } = readLines(text, call.host.env)
  const [wishes, slips]: [Wish[], Slip[]] = [[], mistakes.map((it) => ({ ...it, path }))]
  const file = tagOf(call.host.resolve(path) ?? path)
  for (const line of lines) {
    try {
      wishes.push({ ...(await readWish(line, file, call)), path, line: line.number })
    } catch (error) {
      if (!(error instanceof PipeworkError)) throw error
      const { message, hint } = error
      const column = columnOf(message, line.words)
      slips.push({ path, line: line.number, column, message: hint === undefined ? message : `${message}. ${hint}` })
    }
  }
  return { wishes, slips }
}

/** The attachment that a line asks for. Rejects with usage errors. */
async function readWish(
  line: FileLine,
  file: string,
  { parse }: Pick<Call, 'parse'>,
): Promise<Omit<Wish, 'path' | 'line'>> {
  const words = line.words.map(({ text }) => text)
  if (words[0] === 'pipework' || words[0] === 'sudo')
    throw usageError(`'${words[0]}' is a word too many`, 'A line is what one types after pipework.')
  const typed = await parse(words)
  refuseOthers(typed)
  const request = { ...readRequest(typed), file }
  return { request, patience: parseSeconds(typed.text('wait-guest') ?? '0', '--wait-guest') }
}

function refuseOthers({ command, options }: Line): void {
  if (command !== '')
    throw usageError(
      `'${command}' is a command, and a file has attachments only`,
      'An interface of that name: -- first.',
    )
  if (options.includes('confirm'))
    throw usageError(
      "'--confirm' waits for somebody's answer, and there is none for a line",
      'Connect the uplink first: pipework uplink add <bridge> <nic> --confirm SECONDS',
    )
  const option = options.find((it) => OF_THE_RUN.includes(it))
  if (option !== undefined)
    throw usageError(`'--${option}' speaks of the run as a whole`, `Give it once: pipework up --${option} …`)
}

/** Lines that cannot both be true: one interface twice, or one address twice on one LAN. */
function findClashes(wishes: readonly Wish[]): readonly Slip[] {
  const seen = new Map<string, Wish>()
  return wishes.flatMap((wish) => {
    const { request, path, line } = wish
    const { guest, ifname, hostif, addresses, tag, probe } = request
    const link = { key: `${guest.kind ?? ''}:${guest.name} ${ifname}`, what: `'${ifname}' of '${guest.name}'` }
    // A dummy leads nowhere, so that many may have one address; and who does not probe wants it so.
    const isAsked = probe && hostif !== 'dummy'
    const ips = (isAsked ? addresses : []).map((address) => ({
      key: `${hostif}@${tag ?? ''} ${address.ip}`,
      what: `'${formatAddress(address)}' on '${hostif}'`,
    }))
    return [link, ...ips].flatMap(({ key, what }) => {
      const earlier = seen.get(key)
      seen.set(key, earlier ?? wish)
      const message = `${what} stands in ${earlier === undefined ? '' : placeOf(earlier)} already`
      return earlier === undefined ? [] : [{ path, line, column: 1, message }]
    })
  })
}
