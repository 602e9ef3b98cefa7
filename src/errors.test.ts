import { readdirSync, readFileSync } from 'node:fs'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

/** A place in the source where an error is made for its reader. */
interface Site {
  readonly at: string
  readonly isUsage: boolean
  /** The message with `…` for what is filled in. */
  readonly message: string
  readonly hasHint: boolean
}

const ERRORS = ['PipeworkError', 'NoSuchGuest', 'AmbiguousGuest']

/** A text of the source, or undefined where it comes from elsewhere. */
function textOf(node: ts.Expression | undefined): string | undefined {
  if (node === undefined) return undefined
  if (ts.isStringLiteralLike(node)) return node.text
  if (!ts.isTemplateExpression(node)) return undefined
  return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('')
}

function toSite(node: ts.Node, file: ts.SourceFile): Site | undefined {
  const isNew = ts.isNewExpression(node) && ERRORS.includes(node.expression.getText())
  const isUsage = ts.isCallExpression(node) && node.expression.getText() === 'usageError'
  if (!isNew && !isUsage) return undefined
  const [first, second] = node.arguments ?? []
  const message = textOf(first)
  // What is passed on has been made elsewhere.
  if (message === undefined) return undefined
  const given = second !== undefined && (!ts.isObjectLiteralExpression(second) || /\bhint\b/.test(second.getText()))
  const { line } = file.getLineAndCharacterOfPosition(node.getStart())
  return { at: `${file.fileName}:${line + 1}`, isUsage, message, hasHint: given }
}

function listSites(): readonly Site[] {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  return files
    .filter((name) => /\.ts$/.test(name) && !/\.test\.ts$|fake-host|\.d\.ts$/.test(name))
    .flatMap((name) => {
      const file = ts.createSourceFile(name, readFileSync(`src/${name}`, 'utf8'), ts.ScriptTarget.ES2022, true)
      const sites: Site[] = []
      const visit = (node: ts.Node): void => {
        const site = toSite(node, file)
        if (site !== undefined) sites.push(site)
        ts.forEachChild(node, visit)
      }
      visit(file)
      return sites
    })
}

/** Errors whose reader did it himself, whose message says what to type, or that only a log or our own caller hears. */
const SELF_EXPLAINING = [
  /^interrupted/,
  /run it with sudo/,
  /could not be put back$/,
  /^only root can guard/,
  /^the guest is gone$/,
]
const HEARD_BY_NO_PERSON = /^(dhcp|watch)\/|^host\/arm/

describe('every error that the tool can produce', () => {
  const sites = listSites()

  test('is found', () => expect(sites.length).toBeGreaterThan(200))

  // Of a wrong usage that has no hint of its own, cli.ts says where its command is explained.
  test('tells its reader what to do next', () => {
    const silent = sites.filter(
      ({ at, isUsage, message, hasHint }) =>
        !isUsage && !hasHint && !HEARD_BY_NO_PERSON.test(at) && !SELF_EXPLAINING.some((it) => it.test(message)),
    )
    expect(silent.map(({ at, message }) => `${at} ${message}`)).toEqual([])
  })

  test('reads on behind `pipework: `: no capital, no full stop, no line break', () => {
    const odd = sites.filter(({ message }) =>
      /^[A-Z](?!ocker|odman|XC|PU|VLAN|VXLAN|pen vSwitch)[a-z]|\.$|\n/.test(message),
    )
    expect(odd.map(({ at, message }) => `${at} ${message}`)).toEqual([])
  })

  test('puts what was typed in quotes', () => {
    const names = /(?:^|[^'\w`"/:.@=-])…(?=[ :,]|$)/
    const bare = sites.filter(({ isUsage, message }) => isUsage && names.test(message) && !/'…|^…|^--/.test(message))
    expect(bare.map(({ at, message }) => `${at} ${message}`)).toEqual([])
  })
})
