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

/** An attachment that is to be kept, and where that is written. */
export interface DesiredAttachment {
  readonly request: AttachRequest
  /** `lan.pipework:3`, or the label. */
  readonly source: string
}

/** What labels may ask for. */
export interface LabelRules {
  readonly labels: boolean
  /** Whether the variables of dreamcat4's image are read, too. */
  readonly envCompat: boolean
  /** Globs of the bridges and NICs, and the options, that labels may use. */
  readonly allowed: readonly string[]
}

/** Wishes out of labels, and what was refused of them. */
export interface LabelAttachments {
  readonly attachments: readonly DesiredAttachment[]
  readonly rejected: readonly { readonly where: string; readonly why: PipeworkError }[]
}

interface ContainerRef {
  readonly kind: GuestKind
  readonly id: string
  readonly name: string
}

/** Whether a line's guest may be that container; of a bare name, another runtime may have a better claim. */
export function matchesContainer(typed: GuestName, { kind, id, name }: ContainerRef): boolean {
  if (typed.kind !== undefined && typed.kind !== kind) return false
  return typed.name === name || (typed.name.length >= 12 && id.startsWith(typed.name))
}

/** The words of a label: never of several lines, never with a variable of ours in it. */
function parseLabelWords({ text }: LabelEntry): readonly string[] {
  const { lines, errors } = parseLines(text, {})
  const [mistake] = errors
  if (mistake !== undefined) throw new PipeworkError(mistake.message)
  if (lines.length !== 1) throw new PipeworkError(lines.length === 0 ? 'it is empty' : 'it has more than one line')
  return (lines[0]?.words ?? []).map(({ text: word }) => word)
}

/** A label's line, and its words with the guest among them. */
interface LabelLine {
  readonly line: CommandLine
  readonly words: readonly string[]
}

/** The attachments that the labels of one container ask for, each looked at by itself: what one may not ask for is no reason to refuse another. */
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
