import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

// The rules of the source tree: imports point down this list, packages have one door each, a name is exported once.

/** The rooms, from what a user types down to pure values. A room imports from itself and from those below it. */
const rooms = [
  'main',
  'cli',
  'commands',
  'ui',
  'operations',
  'drivers',
  'network',
  'firewall',
  'state',
  'runtimes',
  'plan',
  'system',
  'model',
] as const

/** Which modules may import which package or use which global. What is not listed has no door. */
const doors: Readonly<Record<string, readonly string[]>> = {
  'yargs/yargs': ['cli', 'commands/*'],
  execa: ['system/process'],
  netmask: ['model/*'],
  leven: ['model/*'],
  'node:path': ['*'],
  'node:util': ['*'],
  'node:net': ['model/*', 'system/*'],
  process: ['main'],
  globalThis: ['main'],
}

interface Import {
  /** A module of ours by its name (`drivers/bridge`), or a package. */
  readonly path: string
  readonly isOurs: boolean
}

interface Module {
  readonly name: string
  readonly imports: readonly Import[]
  readonly globals: readonly string[]
  readonly exported: readonly string[]
}

type Tree = ReadonlyMap<string, Module>

const matches = (name: string, patterns: readonly string[]) =>
  patterns.some((it) => it === '*' || it === name || (it.endsWith('/*') && name.startsWith(it.slice(0, -1))))

const roomOf = (name: string) => rooms.findIndex((room) => name === room || name.startsWith(`${room}/`))

/** What a node imports from, if it is any of the ways to import; `import type` counts too. */
function specifierOf(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier
  if (ts.isImportTypeNode(node)) return ts.isLiteralTypeNode(node.argument) ? node.argument.literal : node.argument
  if (!ts.isCallExpression(node)) return undefined
  const called = node.expression
  const isImport = called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'require')
  return isImport ? node.arguments[0] : undefined
}

/** Whether an identifier is read here, and is not the name of a property or of a declaration. */
function isRead(node: ts.Identifier): boolean {
  const { parent } = node
  return ts.isShorthandPropertyAssignment(parent) || !('name' in parent && parent.name === node)
}

function exportedNames(statement: ts.Statement): readonly string[] {
  const modifiers = ts.canHaveModifiers(statement) ? (ts.getModifiers(statement) ?? []) : []
  if (!modifiers.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return []
  if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.map((it) => it.name.getText())
  return 'name' in statement && statement.name !== undefined ? [(statement.name as ts.Identifier).text] : []
}

function readModule(name: string, text: string): Module {
  const imports: Import[] = []
  const globals = new Set<string>()
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node)
    const path = specifier !== undefined && ts.isStringLiteralLike(specifier) ? specifier.text : undefined
    // A text that the build embeds is no module.
    if (path !== undefined && !path.endsWith('?raw')) {
      const isOurs = path.startsWith('.')
      imports.push({ path: isOurs ? posix.join(posix.dirname(name), path) : path, isOurs })
    }
    if (ts.isIdentifier(node) && ['process', 'globalThis', 'console'].includes(node.text) && isRead(node))
      globals.add(node.text)
    ts.forEachChild(node, visit)
  }
  const source = ts.createSourceFile(`${name}.ts`, text, ts.ScriptTarget.ES2022, true)
  visit(source)
  return { name, imports, globals: [...globals], exported: source.statements.flatMap(exportedNames) }
}

/** The modules by name; an import of a folder is an import of its index. */
function readTree(sources: Readonly<Record<string, string>>): Tree {
  const toIndex = (path: string) => (path in sources || !(`${path}/index` in sources) ? path : `${path}/index`)
  const modules = Object.entries(sources).map(([name, text]) => readModule(name, text))
  return new Map(
    modules.map((module) => [
      module.name,
      { ...module, imports: module.imports.map((it) => (it.isOurs ? { ...it, path: toIndex(it.path) } : it)) },
    ]),
  )
}

function readSources(folder: string): Readonly<Record<string, string>> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  // Tests and their fake system may import whatever they need.
  const ours = files.filter((file) => /\.ts$/.test(file) && !/(\.test|\.d|^system\/fake)\.ts$/.test(file))
  return Object.fromEntries(ours.map((file) => [file.replace(/\.ts$/, ''), readFileSync(join(folder, file), 'utf8')]))
}

function findUpwardImports(tree: Tree): readonly string[] {
  return [...tree.values()].flatMap(({ name, imports }) => {
    if (roomOf(name) < 0) return [`${name} is in no room`]
    const ours = imports.filter(({ isOurs }) => isOurs).map(({ path }) => path)
    return ours.filter((path) => roomOf(path) < roomOf(name)).map((path) => `${name} must not import ${path}`)
  })
}

function findCycles(tree: Tree): readonly string[] {
  const done = new Set<string>()
  const walk = (trail: readonly string[], name: string): readonly string[] => {
    if (trail.includes(name)) return [[...trail.slice(trail.indexOf(name)), name].join(' → ')]
    if (done.has(name)) return []
    const next = tree.get(name)?.imports.filter(({ isOurs }) => isOurs) ?? []
    const found = next.flatMap(({ path }) => walk([...trail, name], path))
    done.add(name)
    return found
  }
  return [...tree.keys()].flatMap((name) => walk([], name))
}

/** Node's own modules belong to system/, but for those that are listed. */
const doorsOf = (path: string) => doors[path] ?? (path.startsWith('node:') ? ['system/*'] : [])

function findSideDoors(tree: Tree): readonly string[] {
  return [...tree.values()].flatMap(({ name, imports, globals }) => {
    const used = [...imports.filter(({ isOurs }) => !isOurs).map(({ path }) => path), ...globals]
    return used.filter((path) => !matches(name, doorsOf(path))).map((path) => `${name} must not use ${path}`)
  })
}

function findTwins(tree: Tree): readonly string[] {
  const places = new Map<string, string[]>()
  // A type and a value of one name in one file are one name.
  for (const { name, exported } of tree.values())
    for (const it of new Set(exported)) places.set(it, [...(places.get(it) ?? []), name])
  return [...places].filter(([, names]) => names.length > 1).map(([it, names]) => `${it}: ${names.join(', ')}`)
}

const rules = {
  'imports point down': findUpwardImports,
  'no cycles': findCycles,
  'each package has one door': findSideDoors,
  'a name is exported once': findTwins,
} as const

describe('the source tree', () => {
  const tree = readTree(readSources('src'))

  test('is read', () => expect([...tree.keys()]).toContain('model/address'))

  test.each(Object.entries(rules))('%s', (_, find) => expect(find(tree)).toEqual([]))
})

describe('a broken rule is found', () => {
  const none: Readonly<Record<string, string>> = { 'model/address': '', 'drivers/index': '', 'drivers/ovs': '' }

  test.each<[keyof typeof rules, string, string, string[]]>([
    ['imports point down', 'model/mac', `import { x } from '../drivers'`, ['model/mac must not import drivers/index']],
    ['imports point down', 'model/mac', `import type { X } from '../ui/x'`, ['model/mac must not import ui/x']],
    ['imports point down', 'model/mac', `let x: import('../drivers').X`, ['model/mac must not import drivers/index']],
    ['imports point down', 'plan/x', `const x = () => import('../cli')`, ['plan/x must not import cli']],
    ['imports point down', 'drivers/bridge', `import { x } from '../model/address'`, []],
    ['imports point down', 'utils', '', ['utils is in no room']],
    ['no cycles', 'drivers/ovs', `import './ovs'`, ['drivers/ovs → drivers/ovs']],
    ['each package has one door', 'plan/x', `import y from 'execa'`, ['plan/x must not use execa']],
    ['each package has one door', 'system/process', `import y from 'execa'`, []],
    ['each package has one door', 'cli', `import type { Stats } from 'node:fs'`, ['cli must not use node:fs']],
    ['each package has one door', 'cli', 'f(process.env)', ['cli must not use process']],
    ['each package has one door', 'main', 'console.log(1)', ['main must not use console']],
    ['a name is exported once', 'model/mac', 'export const x = 1', []],
    ['a name is exported once', 'cli', 'export const same = 1', ['same: model/same, cli']],
  ])('%s: %s: %s', (rule, name, text, problems) => {
    const same: Readonly<Record<string, string>> =
      rule === 'a name is exported once' ? { 'model/same': 'export function same() {}' } : {}
    expect(rules[rule](readTree({ ...none, ...same, [name]: text }))).toEqual(problems)
  })

  test('no cycles: through two files', () => {
    const tree = readTree({ 'commands/up': `import './attach'`, 'commands/attach': `import './up'` })
    expect(findCycles(tree)).toEqual(['commands/up → commands/attach → commands/up'])
  })
})
