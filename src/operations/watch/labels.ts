import { parseLines } from '../../model/attachment-file'
import type { CommandLine, LineParser } from '../../model/command-line'
import { PipeworkError } from '../../model/errors'
import type { GuestKind, GuestName } from '../../model/guest-name'
import {
  expandMacros,
  insertGuest,
  type LabelEntry,
  listEnvCommands,
  listPipeworkLabels,
  validateLabel,
  validateOwnGuest,
} from '../../model/labels'
import type { AttachRequest } from '../../model/request'
import type { ContainerConfig } from '../../runtimes/running'

/** A desired attachment and its source. */
export interface DesiredAttachment {
  readonly request: AttachRequest
  /** `lan.pipework:3`, or the label. */
  readonly source: string
}

/** What labels may request. */
export interface LabelRules {
  readonly labels: boolean
  /** Whether the variables of dreamcat4's image are read as well. */
  readonly envCompat: boolean
  /** Globs of bridges and NICs, and options, that labels may use. */
  readonly allowed: readonly string[]
}

/** The attachments that labels request, and the refused ones. */
export interface LabelAttachments {
  readonly attachments: readonly DesiredAttachment[]
  readonly rejected: readonly { readonly where: string; readonly why: PipeworkError }[]
}

interface ContainerRef {
  readonly kind: GuestKind
  readonly id: string
  readonly name: string
}

/** Whether a line's guest may be that container; a bare name may belong to another runtime first. */
export function matchesContainer(typed: GuestName, { kind, id, name }: ContainerRef): boolean {
  if (typed.kind !== undefined && typed.kind !== kind) return false
  return typed.name === name || (typed.name.length >= 12 && id.startsWith(typed.name))
}

/** The words of a label; refuses several lines and variables. */
function parseLabelWords({ text }: LabelEntry): readonly string[] {
  const { lines, errors } = parseLines(text, {})
  const [mistake] = errors
  if (mistake !== undefined) throw new PipeworkError(mistake.message)
  if (lines.length !== 1) throw new PipeworkError(lines.length === 0 ? 'it is empty' : 'it has more than one line')
  return (lines[0]?.words ?? []).map(({ text: word }) => word)
}

/** A label as a command line, and its words including the guest. */
interface LabelLine {
  readonly line: CommandLine
  readonly words: readonly string[]
}

/**
 * Reads the attachments in a container's labels. Each label is checked alone, so that a refused one does not affect the
 * others.
 */
export async function readLabelAttachments(
  container: ContainerConfig,
  rules: LabelRules,
  parseLine: LineParser,
): Promise<LabelAttachments> {
  const wishes: DesiredAttachment[] = []
  const refused: { where: string; why: PipeworkError }[] = []
  const read = async (asked: LabelEntry, toLine: (words: readonly string[]) => Promise<LabelLine>) => {
    const where = asked.key
    try {
      const { line, words } = await toLine(parseLabelWords(asked))
      const request = line.toRequest(words)
      validateLabel({ command: line.command, positionals: words, givenOptions: line.options, request }, rules.allowed)
      wishes.push({ request, source: where })
    } catch (why) {
      if (!(why instanceof PipeworkError)) throw why
      refused.push({ where, why })
    }
  }
  const guest = `${container.kind}:${container.name}`
  if (rules.labels)
    for (const asked of listPipeworkLabels(container))
      await read(asked, async (words) => {
        const line = await parseLine(words)
        return { line, words: insertGuest(line.words, guest) }
      })
  if (rules.envCompat)
    for (const asked of listEnvCommands(container))
      await read(asked, async (words) => {
        const line = await parseLine(words.map((word) => expandMacros(word, container)))
        validateOwnGuest(line.words, container)
        return { line, words: line.words }
      })
  return { attachments: wishes, rejected: refused }
}
