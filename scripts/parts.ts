import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Options } from 'tsup'
import ts from 'typescript'

type Plugin = NonNullable<Options['esbuildPlugins']>[number]
type Esbuild = Parameters<Plugin['setup']>[0]['esbuild']
type BuildResult = Parameters<Parameters<Parameters<Plugin['setup']>[0]['onEnd']>[0]>[0]

/** What esbuild tells of its outputs: what each is made of and imports. */
export type Metafile = NonNullable<BuildResult['metafile']>
type Output = Metafile['outputs'][string]

// One file of many parts. esbuild cuts the program into chunks wherever there is an `import()`, so that each module
// stands in exactly one of them. Here every chunk becomes a part of the one file: those that each run needs stand as
// code, all others as a comment in a function that is never called. V8 skips a comment much faster than it reads code,
// and a function gives back its source, with no file to read: that may have been replaced by a newer one since. A part
// is compiled when it is first required, at the line on which it stands, so that stack traces are right.

const isOurs = (path: string): boolean => path.startsWith('src/')

/**
 * What an output is called in the file: after the module that it is for, or the largest of those in it. What an
 * `import()` names and others import statically too has two: the module itself, and a door that leads to it.
 */
function nameOf({ inputs, entryPoint }: Output): string {
  const sizes = Object.entries(inputs).map(([path, { bytesInOutput }]) => ({ path, bytesInOutput }))
  const [largest] = sizes.sort((a, b) => b.bytesInOutput - a.bytesInOutput || (a.path < b.path ? -1 : 1))
  const path = entryPoint ?? largest?.path ?? 'esbuild'
  const name = path.replace(/^.*node_modules\/((?:@[^/]+\/)?[^/]+)\/.*/, '$1').replace(/^src\/|\.ts$/g, '')
  return entryPoint !== undefined && inputs[entryPoint] === undefined ? `door to ${name}` : name
}

/** The way in, and what it imports without waiting: all that runs before the first `import()`. */
function listEager({ outputs }: Metafile): ReadonlySet<string> {
  const eager = new Set<string>()
  const visit = (path: string): void => {
    if (eager.has(path)) return
    eager.add(path)
    for (const { path: next, kind } of outputs[path]?.imports ?? [])
      if (kind === 'import-statement' && next in outputs) visit(next)
  }
  for (const [path, { entryPoint }] of Object.entries(outputs)) if (entryPoint === 'src/main.ts') visit(path)
  return eager
}

/** A piece of text, and what takes its place. */
interface Edit {
  readonly node: ts.Node
  readonly text: string
}

/** `a as b`, of an import or an export, as a property of an object or of its pattern. */
const toProperty = (from: string, to: string): string => (from === to ? from : `${from}:${to}`)

function editImport(node: ts.ImportDeclaration, from: string): Edit {
  const required = `require(${JSON.stringify(from)})`
  const { name, namedBindings: bindings } = node.importClause ?? {}
  const names = bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements : []
  const properties = names.map((it) => toProperty((it.propertyName ?? it.name).text, it.name.text))
  // Node's own modules are their own default.
  const whole = [name, bindings !== undefined && ts.isNamespaceImport(bindings) ? bindings.name : undefined]
  const targets = [
    ...whole.flatMap((it) => (it === undefined ? [] : [it.text])),
    ...(properties.length === 0 ? [] : [`{${properties}}`]),
  ]
  return { node, text: targets.length === 0 ? `${required};` : `var ${targets.map((it) => `${it}=${required}`)};` }
}

function editExports(node: ts.ExportDeclaration, names: ts.NamedExports): Edit {
  const properties = names.elements.map((it) => toProperty(it.name.text, (it.propertyName ?? it.name).text))
  return { node, text: `module.exports={${properties}};` }
}

/**
 * A chunk as CommonJS. esbuild's own way goes through getters at every use of what is imported, which took an attach
 * 3 ms. Chunks do not import each other in a circle and export at their end what no longer changes: plain properties
 * do. `import()` becomes a require too: Node's loader for ES modules takes 3 ms to wake up.
 */
function toCommonJs(chunk: string, rename: (path: string) => string): string {
  const source = ts.createSourceFile('chunk.js', chunk, ts.ScriptTarget.ES2022, true)
  const edits: Edit[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier))
      edits.push(editImport(node, rename(node.moduleSpecifier.text)))
    if (ts.isExportDeclaration(node) && node.exportClause !== undefined && ts.isNamedExports(node.exportClause))
      edits.push(editExports(node, node.exportClause))
    const [path] =
      ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword ? node.arguments : []
    if (path !== undefined && ts.isStringLiteral(path))
      edits.push({ node, text: `Promise.resolve().then(()=>require(${JSON.stringify(rename(path.text))}))` })
    ts.forEachChild(node, visit)
  }
  visit(source)
  let text = chunk
  for (const { node, text: instead } of edits.sort((a, b) => b.node.pos - a.node.pos))
    text = text.slice(0, node.getStart(source)) + instead + text.slice(node.end)
  return text
}

/** What esbuild's `charset` leaves: it touches no regular expression. */
function escapeBeyondAscii(code: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are ASCII
  return code.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

interface Part {
  readonly name: string
  readonly isEager: boolean
  /** As CommonJS, with one line break at its end. */
  readonly text: string
}

const formatBody = ({ text }: Part): string => `(module,exports,require,__filename){"use strict";\n${text}}`

function formatLazyPart(part: Part, line: number): string {
  const text = `(function${formatBody(part)})`.replaceAll('*/', '*\x01/')
  return `${JSON.stringify(part.name)}:{line:${line},text(){/*${text}*/}},\n`
}

/** All parts, as they stand from that line on. */
function formatParts(parts: readonly Part[], line: number): string {
  let text = ''
  for (const part of parts)
    text += part.isEager
      ? `${JSON.stringify(part.name)}:{code${formatBody(part)}},\n`
      : formatLazyPart(part, line + text.split('\n').length - 1)
  return text
}

/** The one file: the require of all parts, beside which what follows has no other; the parts; the call of the first. */
async function join(banner: string, parts: readonly Part[], esbuild: Esbuild): Promise<string> {
  const source = readFileSync('scripts/registry.ts', 'utf8')
  const { code } = await esbuild.transform(source, { loader: 'ts', format: 'cjs', target: 'node18', ...FORM })
  const build = createHash('sha256')
    .update(`${code}${formatParts(parts, 0)}`)
    .digest('hex')
    .slice(0, 16)
  const head =
    `${banner}"use strict";\nrequire=((require,module)=>{${code.trimEnd()}\n` +
    `return module.exports.createRegistry({require,filename:__filename,build:"${build}",parts:()=>parts})})(require,{});\n` +
    'const parts={\n'
  return `${head}${formatParts(parts, head.split('\n').length - 1)}};\nrequire("main");\n`
}

interface Chunks {
  readonly metafile: Metafile
  readonly files: NonNullable<BuildResult['outputFiles']>
  readonly esbuild: Esbuild
}

async function toParts({ metafile, files, esbuild }: Chunks): Promise<readonly Part[]> {
  const eager = listEager(metafile)
  // esbuild's own names carry a hash, which says nothing and is another in the next version.
  const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
  const names = new Map(Object.entries(metafile.outputs).map(([path, output]) => [baseOf(path), nameOf(output)]))
  if (new Set(names.values()).size < names.size)
    throw new Error(`two parts have one name: ${[...names.values()].sort()}`)
  const rename = (path: string): string => names.get(baseOf(path)) ?? path
  const parts = Object.entries(metafile.outputs).map(async ([path, { inputs }]) => {
    const chunk = files.find((file) => baseOf(file.path) === baseOf(path))?.text ?? ''
    // The names in a package's part say nothing to us. Of ours, a script keeps those that a stack trace tells.
    const minify = !Object.keys(inputs).some(isOurs)
    const { code } = await esbuild.transform(chunk, { format: 'esm', minify, target: 'node18', ...FORM })
    const script = await esbuild.transform(toCommonJs(code, rename), { minify: true, target: 'node18', ...FORM })
    return {
      name: rename(path),
      isEager: eager.has(path),
      text: `${escapeBeyondAscii(script.code).trimEnd()}\n`,
    }
  })
  return (await Promise.all(parts)).sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** White space goes; the limit on lines is for an uncaught error, which prints its line. */
const FORM = {
  minifyWhitespace: true,
  lineLimit: 120,
  // One character beyond Latin-1 makes V8 hold and scan the whole file in two bytes a character: 1.5 ms of every start.
  charset: 'ascii',
  legalComments: 'none',
} as const

/** An esbuild plugin that makes one file of a build with `splitting`. What `append` answers follows it as a comment. */
export function oneFile(banner: string, append: (metafile: Metafile) => string): Plugin {
  return {
    name: 'one-file',
    setup: ({ onEnd, esbuild, initialOptions }) => {
      Object.assign(initialOptions, FORM)
      onEnd(async ({ metafile, outputFiles: files = [] }) => {
        const main = files.find(({ path }) => path.endsWith('/main.js'))
        if (metafile === undefined || main === undefined) return
        const parts = await toParts({ metafile, files, esbuild })
        main.contents = Buffer.from(`${await join(banner, parts, esbuild)}\n${append(metafile)}`)
        files.splice(0, files.length, main)
      })
    },
  }
}
