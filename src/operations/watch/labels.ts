import { readRequest } from '../../commands/attach'
import { readLines } from '../../model/attachment-file'
import { PipeworkError } from '../../model/errors'
import type { GuestKind, GuestName } from '../../model/guest-name'
import {
  type Asked,
  expandMacros,
  insertGuest,
  listLabels,
  listVariables,
  refuseLabel,
  refuseOtherGuest,
} from '../../model/labels'
import type { AttachRequest } from '../../model/request'
import type { ContainerConfig } from '../../runtimes/running'
import type { Line, Typed } from '../../ui/command'

/** An attachment that is to be kept, and where that is written. */
export interface Wish {
  readonly request: AttachRequest
  /** `lan.pipework:3`, or the label. */
  readonly where: string
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
export interface LabelWishes {
  readonly wishes: readonly Wish[]
  readonly refused: readonly { readonly where: string; readonly why: PipeworkError }[]
}

interface Owner {
  readonly kind: GuestKind
  readonly id: string
  readonly name: string
}

/** Whether a line's guest may be that container; of a bare name, another runtime may have a better claim. */
export function isMeant(typed: GuestName, { kind, id, name }: Owner): boolean {
  if (typed.kind !== undefined && typed.kind !== kind) return false
  return typed.name === name || (typed.name.length >= 12 && id.startsWith(typed.name))
}

/** The words of a label: never of several lines, never with a variable of ours in it. */
function splitLabel({ text }: Asked): readonly string[] {
  const { lines, mistakes } = readLines(text, {})
  const [mistake] = mistakes
  if (mistake !== undefined) throw new PipeworkError(mistake.message)
  if (lines.length !== 1) throw new PipeworkError(lines.length === 0 ? 'it is empty' : 'it has more than one line')
  return (lines[0]?.words ?? []).map(({ text: word }) => word)
}

type Parse = (argv: readonly string[]) => Promise<Line>

/** The wishes of one container, each looked at by itself: what one may not ask for is no reason to refuse another. */
export async function readLabelWishes(
  container: ContainerConfig,
  rules: LabelRules,
  parse: Parse,
): Promise<LabelWishes> {
  const wishes: Wish[] = []
  const refused: { where: string; why: PipeworkError }[] = []
  const read = async (asked: Asked, toLine: (words: readonly string[]) => Promise<Line>) => {
    const where = asked.key
    try {
      const line = await toLine(splitLabel(asked))
      const request = readRequest(line)
      refuseLabel({ command: line.command, words: line.words, options: line.options, request }, rules.allowed)
      wishes.push({ request, where })
    } catch (why) {
      if (!(why instanceof PipeworkError)) throw why
      refused.push({ where, why })
    }
  }
  const guest = `${container.kind}:${container.name}`
  if (rules.labels)
    for (const asked of listLabels(container))
      await read(asked, async (words) => {
        const line = await parse(words)
        return withWords(line, insertGuest(line.words, guest))
      })
  if (rules.envCompat)
    for (const asked of listVariables(container))
      await read(asked, async (words) => {
        const line = await parse(words.map((word) => expandMacros(word, container)))
        refuseOtherGuest(line.words, container)
        return line
      })
  return { wishes, refused }
}

function withWords<T extends Typed>(line: T, words: readonly string[]): T {
  return { ...line, words }
}
