import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

// The three rules of the source tree. A new file takes its place in `layers`, a new package in `doors`.

/** A file imports from the rows above its own; where the row says `inner`, also from its own row. */
const layers: readonly { readonly files: readonly string[]; readonly inner?: true }[] = [
  { files: ['errors', 'ip', 'step', 'nearest', 'unit'] },
  { files: ['host'] },
  { files: ['sysfs'] },
  { files: ['together'] },
  { files: ['host/*'], inner: true },
  { files: ['values'] },
  { files: ['sources', 'procroutes'] },
  { files: ['addressing'] },
  { files: ['vlan', 'routewish'] },
  { files: ['netfilter/*', 'verdict'], inner: true },
  { files: ['record'] },
  { files: ['outside/wish'] },
  { files: ['holdings', 'wish', 'keepers'] },
  { files: ['facets'] },
  { files: ['journal'] },
  { files: ['guestname', 'options'] },
  { files: ['request'] },
  { files: ['lines', 'labels'] },
  { files: ['guests/*'], inner: true },
  { files: ['guest'] },
  { files: ['nics'] },
  { files: ['firewall/*'], inner: true },
  { files: ['hostlinks'] },
  { files: ['inside', 'ports', 'ovsdb'] },
  { files: ['rules', 'nicfacts', 'peek'] },
  { files: ['snapshot'] },
  { files: ['shift'] },
  { files: ['names'] },
  { files: ['facts'] },
  { files: ['links/*', 'addresses', 'routes', 'policy'], inner: true },
  { files: ['vxlan'] },
  { files: ['detach'] },
  { files: ['plan', 'remake'] },
  { files: ['attachments', 'report'] },
  { files: ['transcript'] },
  { files: ['ahead', 'locks'] },
  { files: ['dhcp/*'], inner: true },
  { files: ['execute'] },
  { files: ['passage'] },
  { files: ['vacancy'] },
  { files: ['outside/*'], inner: true },
  { files: ['doctor/*'], inner: true },
  { files: ['uplink/*'], inner: true },
  { files: ['converge'] },
  { files: ['commands/call'] },
  { files: ['prompt/*'], inner: true },
  { files: ['commands/*', 'watch/*'], inner: true },
  { files: ['table', 'meant'] },
  { files: ['parse'] },
  { files: ['cli'] },
  { files: ['main'] },
]

/** Files of which others name the types only: the one host there is comes from main, as an argument. */
const typesOnly: Readonly<Record<string, readonly string[]>> = { host: [], 'host/linux': ['main'] }

/** Where waiting is allowed; all other files are plain functions of their arguments. */
const waiting = [
  'attachments',
  'peek',
  'guests/*',
  'guest',
  'inside',
  'ports',
  'ovsdb',
  'names',
  'facts',
  'ahead',
  'locks',
  'execute',
  'dhcp/*',
  'firewall/live',
  'outside/live',
  'outside/plan',
  'converge',
  'snapshot',
  'keepers',
  'vxlan',
  'uplink/survey',
  'uplink/carry',
  'uplink/guard',
  'uplink/foresee',
  'uplink/confirm',
  'uplink/connect',
  'nicfacts',
  'rules',
  'host/*',
  'prompt/candidates',
  'prompt/found',
  'prompt/guests',
  'prompt/hostifs',
  'prompt/help',
  'netfilter/read',
  'passage',
  'vacancy',
  'doctor/ask',
  'doctor/read',
  'doctor/probe',
  'doctor/taken',
  'commands/*',
  'watch/*',
  'parse',
  'cli',
  'main',
]

/** Which files may reach for what is not ours. What is not listed has no door yet. */
const doors: Readonly<Record<string, readonly string[]>> = {
  execa: ['host/*'],
  leven: ['nearest'],
  netmask: ['values'],
  'yargs/yargs': ['prompt/help'],
  'node:dgram': ['host/*'],
  'node:child_process': ['host/*'],
  'node:crypto': ['host/*'],
  'node:fs': ['host/*'],
  'node:fs/promises': ['host/*'],
  'node:http': ['host/*'],
  'node:net': ['host/*'],
  'node:os': ['host/*'],
  'node:path': ['*'],
  'node:tty': ['host/*'],
  'node:util': ['*'],
  'node:v8': ['host/*'],
  process: ['main'],
  globalThis: ['main'],
  console: [],
}

interface Import {
  /** A module of ours by its name (`links/bridge`), or a package. */
  readonly path: string
  readonly ours: boolean
  readonly typeOnly: boolean
}

interface Module {
  readonly name: string
  readonly imports: readonly Import[]
  readonly globals: readonly string[]
  readonly waits: boolean
}

type Tree = ReadonlyMap<string, Module>

const matches = (name: string, patterns: readonly string[]) =>
  patterns.some((p) => p === '*' || p === name || (p.endsWith('/*') && name.startsWith(p.slice(0, -1))))

const layerOf = (name: string) => layers.findIndex(({ files }) => matches(name, files))

/** What a node imports from, if it is any of the ways to import. */
function specifierOf(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier
  if (ts.isImportTypeNode(node)) return ts.isLiteralTypeNode(node.argument) ? node.argument.literal : node.argument
  if (ts.isExternalModuleReference(node)) return node.expression
  if (!ts.isCallExpression(node)) return undefined
  const called = node.expression
  const imports = called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'require')
  return imports ? node.arguments[0] : undefined
}

function isTypeOnly(node: ts.Node): boolean {
  if (ts.isImportTypeNode(node)) return !node.isTypeOf
  if (ts.isExportDeclaration(node)) return node.isTypeOnly
  const clause = ts.isImportDeclaration(node) ? node.importClause : undefined
  if (clause === undefined || clause.isTypeOnly) return clause !== undefined
  const names = clause.namedBindings
  return (
    clause.name === undefined &&
    names !== undefined &&
    ts.isNamedImports(names) &&
    names.elements.every((e) => e.isTypeOnly)
  )
}

/** Whether an identifier is read here, and not the name of a property or of a declaration. */
function isRead(node: ts.Identifier): boolean {
  const { parent } = node
  if (ts.isShorthandPropertyAssignment(parent)) return true
  return !('name' in parent && parent.name === node)
}

const waitingSyntax = new Set([ts.SyntaxKind.AwaitExpression, ts.SyntaxKind.AwaitKeyword, ts.SyntaxKind.AsyncKeyword])

function readModule(name: string, text: string): Module {
  const imports: Import[] = []
  const globals = new Set<string>()
  let waits = false
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node)
    if (specifier !== undefined) {
      const path = ts.isStringLiteralLike(specifier) ? specifier.text : specifier.getText()
      const ours = path.startsWith('.')
      const resolved = ours ? posix.join(posix.dirname(name), path).replace(/\.[jt]s$/, '') : path
      // A file's text, embedded by the build, is no module.
      if (!path.endsWith('?raw')) imports.push({ path: resolved, ours, typeOnly: isTypeOnly(node) })
    }
    if (ts.isIdentifier(node) && Object.hasOwn(doors, node.text) && isRead(node)) globals.add(node.text)
    waits ||= waitingSyntax.has(node.kind)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(`${name}.ts`, text, ts.ScriptTarget.ES2022, true))
  return { name, imports, globals: [...globals], waits }
}

/** The modules by name, and their imports of a folder taken for imports of its index. */
function readTree(sources: Readonly<Record<string, string>>): Tree {
  const toIndex = (path: string) => (path in sources || !(`${path}/index` in sources) ? path : `${path}/index`)
  const modules = Object.entries(sources).map(([name, text]) => readModule(name, text))
  return new Map(
    modules.map((module) => [
      module.name,
      { ...module, imports: module.imports.map((i) => (i.ours ? { ...i, path: toIndex(i.path) } : i)) },
    ]),
  )
}

function readSources(folder: string): Readonly<Record<string, string>> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  // Tests and their fake host may reach for whatever they need.
  const ours = files.filter((file) => /\.ts$/.test(file) && !/(\.test|\.d|^fake-host)\.ts$/.test(file))
  return Object.fromEntries(ours.map((file) => [file.replace(/\.ts$/, ''), readFileSync(join(folder, file), 'utf8')]))
}

/** Rule 1: imports point one way. */
function findWrongWay(tree: Tree): readonly string[] {
  return [...tree.values()].flatMap(({ name, imports }) => {
    const layer = layerOf(name)
    if (layer < 0) return [`${name} has no layer`]
    return imports
      .filter(({ ours }) => ours)
      .flatMap(({ path, typeOnly }) => {
        if (!tree.has(path)) return [`${name} imports ${path}, which is no module of the tree`]
        const wrongWay = layers[layer]?.inner ? layerOf(path) > layer : layerOf(path) >= layer
        const wrongKind = !typeOnly && !matches(name, typesOnly[path] ?? ['*'])
        return wrongWay || wrongKind ? [`${name} must not import ${path}`] : []
      })
  })
}

/** Rule 1, within a row: no cycles. */
function findCycles(tree: Tree): readonly string[] {
  const done = new Set<string>()
  const walk = (trail: readonly string[], name: string): readonly string[] => {
    if (trail.includes(name)) return [[...trail.slice(trail.indexOf(name)), name].join(' → ')]
    if (done.has(name)) return []
    const next = tree.get(name)?.imports.filter((i) => i.ours) ?? []
    const found = next.flatMap(({ path }) => walk([...trail, name], path))
    done.add(name)
    return found
  }
  return [...tree.keys()].flatMap((name) => walk([], name))
}

/** Rule 2: who may wait. */
function findWaiting(tree: Tree): readonly string[] {
  const names = [...tree.values()].filter(({ name, waits }) => waits && !matches(name, waiting)).map(({ name }) => name)
  return names.map((name) => `${name} must not wait`)
}

/** Rule 3: one door for each package, for `process` and for `console`. */
function findSideDoors(tree: Tree): readonly string[] {
  return [...tree.values()].flatMap(({ name, imports, globals }) => {
    const taken = [...imports.filter(({ ours }) => !ours).map(({ path }) => path), ...globals]
    const wrong = taken.filter((path) => !matches(name, doors[path.replace(/^node:process$/, 'process')] ?? []))
    return wrong.map((path) => `${name} must not reach for ${path}`)
  })
}

const rules = {
  'imports point one way': findWrongWay,
  'no cycles': findCycles,
  'only some files wait': findWaiting,
  'each package has one door': findSideDoors,
} as const

describe('the source tree', () => {
  const tree = readTree(readSources('src'))

  test('is read', () => expect([...tree.keys()]).toContain('values'))

  test.each(Object.entries(rules))('%s', (_, find) => expect(find(tree)).toEqual([]))
})

describe('a broken rule is found', () => {
  const none: Readonly<Record<string, string>> = {
    errors: '',
    values: '',
    host: '',
    'links/index': '',
    'links/ovs': '',
    'host/linux': '',
  }

  test.each<[keyof typeof rules, string, string, string[]]>([
    ['imports point one way', 'values', `import { x } from './links'`, ['values must not import links/index']],
    ['imports point one way', 'values', `import type { X } from './links'`, ['values must not import links/index']],
    ['imports point one way', 'values', `export { x } from './links'`, ['values must not import links/index']],
    ['imports point one way', 'values', `const x = () => import('./links')`, ['values must not import links/index']],
    ['imports point one way', 'values', `let x: import('./links').X`, ['values must not import links/index']],
    ['imports point one way', 'facts', `import { x } from './host'`, ['facts must not import host']],
    ['imports point one way', 'facts', `import { x } from './host/linux'`, ['facts must not import host/linux']],
    ['imports point one way', 'facts', `import { type X, y } from './host'`, ['facts must not import host']],
    ['imports point one way', 'facts', `import type { X } from './host'`, []],
    ['imports point one way', 'facts', `import { type X, type Y } from './host'`, []],
    ['imports point one way', 'main', `import { x } from './host/linux'`, []],
    ['imports point one way', 'errors', `import './step'`, ['errors imports step, which is no module of the tree']],
    ['imports point one way', 'step', `import { x } from './errors.js'`, ['step must not import errors']],
    ['imports point one way', 'links/ovs', `import { x } from '../values'`, []],
    ['imports point one way', 'links/ovs', `import { x } from '.'`, []],
    ['imports point one way', 'utils', '', ['utils has no layer']],
    ['no cycles', 'links/ovs', `import './ovs'`, ['links/ovs → links/ovs']],
    ['no cycles', 'links/ovs', `import './index'`, []],
    ['only some files wait', 'plan', 'async function f() {}', ['plan must not wait']],
    ['only some files wait', 'plan', 'await f()', ['plan must not wait']],
    ['only some files wait', 'plan', 'for await (const x of f()) g(x)', ['plan must not wait']],
    ['only some files wait', 'commands/ls', 'await f()', []],
    ['each package has one door', 'plan', `import y from 'execa'`, ['plan must not reach for execa']],
    ['each package has one door', 'host/programs', `import y from 'execa'`, []],
    ['each package has one door', 'cli', `const x = await import('execa')`, ['cli must not reach for execa']],
    ['each package has one door', 'cli', `import type { Fs } from 'node:fs'`, ['cli must not reach for node:fs']],
    ['each package has one door', 'cli', `import { x } from 'left-pad'`, ['cli must not reach for left-pad']],
    ['each package has one door', 'cli', `import p from 'node:process'`, ['cli must not reach for node:process']],
    ['each package has one door', 'cli', 'f(process.env)', ['cli must not reach for process']],
    ['each package has one door', 'cli', 'f({ process })', ['cli must not reach for process']],
    ['each package has one door', 'cli', 'globalThis.process', ['cli must not reach for globalThis']],
    ['each package has one door', 'cli', 'const x = { process: 1 }; f(x.process)', []],
    ['each package has one door', 'main', 'process.exit()', []],
    ['each package has one door', 'main', 'console.log(1)', ['main must not reach for console']],
  ])('%s: %s: %s', (rule, name, text, problems) =>
    expect(rules[rule](readTree({ ...none, [name]: text }))).toEqual(problems),
  )

  test('no cycles: through two files', () => {
    const tree = readTree({ 'commands/up': `import './attach'`, 'commands/attach': `import './up'` })
    expect(findCycles(tree)).toEqual(['commands/up → commands/attach → commands/up'])
  })
})
