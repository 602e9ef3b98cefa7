import { usageError } from '../../model/errors'
import { listClosest } from '../../model/nearest'
import { formatTable } from '../report'

/** The values that a template can name. */
export type TemplateFields = Readonly<Record<string, string>>

type TemplatePart = (fields: TemplateFields, whole: object) => string

/** `{{.Guest}}`, `{{json .}}`, `{{json .Guest}}`: the part of Go's templates that users type at a prompt. */
function parseTemplateAction(action: string, names: readonly string[]): TemplatePart {
  const [, json, name] = /^(json\s+)?\.(\w*)$/.exec(action.trim()) ?? []
  if (name === undefined || (name === '' && json === undefined))
    throw usageError(`--format: '{{${action}}}' is not a field`, 'Write {{.Guest}}, {{json .}} or {{json .Guest}}.')
  if (name === '') return (_, whole) => JSON.stringify(whole)
  if (!names.includes(name)) {
    const near = listClosest(name, names)
    throw usageError(
      `--format: there is no field '.${name}'`,
      near.length > 0
        ? `Did you mean ${near.map((it) => `.${it}`).join(' or ')}?`
        : `The fields are .${names.join(', .')}.`,
    )
  }
  return json === undefined ? (fields) => fields[name] ?? '' : (fields) => JSON.stringify(fields[name] ?? '')
}

/** Formats one line for each item; with a leading `table ` it aligns them under a header, as docker does. */
export interface ListTemplate {
  format(all: readonly { readonly fields: TemplateFields; readonly whole: object }[]): string
}

/** Parses a template. Throws usage errors. */
export function parseTemplate(typed: string, names: readonly string[]): ListTemplate {
  const isTable = typed.startsWith('table ')
  const text = (isTable ? typed.slice(6) : typed).replaceAll('\\t', '\t').replaceAll('\\n', '\n')
  const pieces = text.split(/\{\{(.*?)\}\}/s)
  if (/\{\{|\}\}/.test(pieces.filter((_, index) => index % 2 === 0).join(' ')))
    throw usageError(`--format '${typed}': unbalanced {{ or }}`, 'Write {{.Guest}}.')
  const parts = pieces.map((piece, index) => (index % 2 === 0 ? () => piece : parseTemplateAction(piece, names)))
  const fill: TemplatePart = (fields, whole) => parts.map((part) => part(fields, whole)).join('')
  if (!isTable) return { format: (all) => all.map(({ fields, whole }) => `${fill(fields, whole)}\n`).join('') }
  const titles = Object.fromEntries(names.map((name) => [name, name.toUpperCase()]))
  const head = pieces
    .map((piece, index) => (index % 2 === 0 ? piece : (titles[piece.replace(/^.*\./, '')] ?? piece)))
    .join('')
  return {
    format: (all) =>
      formatTable(
        head.split('\t'),
        all.map(({ fields, whole }) => fill(fields, whole).split('\t')),
      ),
  }
}
