import type { Options } from 'tsup'

type Plugin = NonNullable<Options['esbuildPlugins']>[number]
type PluginBuild = Parameters<Plugin['setup']>[0]
type TransformOptions = NonNullable<Parameters<PluginBuild['esbuild']['transform']>[1]>
type BuildResult = Parameters<Parameters<PluginBuild['onEnd']>[0]>[0]

/** What esbuild tells of its outputs: what each is made of and imports. */
export type Metafile = NonNullable<BuildResult['metafile']>

/**
 * One file of many parts. esbuild cuts the program into chunks wherever there is an `import()`, so that each module
 * stands in exactly one of them. Here every chunk becomes a part of the one file: those that each run needs stand as
 * code, all others as a comment in a function that nobody calls. Node skims a comment five times faster than code, and
 * asked for its source a function gives back the text, with no file to read (it may have been replaced by a newer one
 * since). A part is compiled when it is first required, once, so that all who import a module share it; at the
 * line at which it stands, so that stack traces tell the truth.
 */

/** What an output of esbuild's is called in the file: after the largest of the modules in it. */
function nameOf({ inputs, entryPoint }: Metafile['outputs'][string]): string {
  const sizes = Object.entries(inputs).map(([path, { bytesInOutput }]) => ({ path, bytesInOutput }))
  const [largest] = sizes.sort((a, b) => b.bytesInOutput - a.bytesInOutput || (a.path < b.path ? -1 : 1))
  const path = entryPoint ?? largest?.path ?? 'esbuild'
  return path.replace(/^.*node_modules\/((?:@[^/]+\/)?[^/]+)\/.*/, '$1').replace(/^src\/|\.ts$/g, '')
}

/** The way in, and what it imports without waiting: all that runs before the first `await import()`. */
function listEager(metafile: Metafile, entry: string): ReadonlySet<string> {
  const eager = new Set<string>()
  const visit = (path: string): void => {
    if (eager.has(path)) return
    eager.add(path)
    for (const { path: next, kind } of metafile.outputs[path]?.imports ?? [])
      if (kind === 'import-statement' && next in metafile.outputs) visit(next)
  }
  visit(entry)
  return eager
}

/**
 * The require of all parts. What it compiles it finds by asking a part's function for its own text: the comment in it,
 * in which `*` and `/` are kept from ending it.
 */
const REGISTRY = `require=((require,parts)=>{
const loaded=new Map();
const compile=({line,text})=>{
const source=text.toString();
const body=source.slice(source.indexOf("/*")+2,source.lastIndexOf("*/")).replaceAll("*\\x01/","*/");
const names=["module","exports","require","__filename"];
return require("node:vm").compileFunction(body,names,{filename:__filename,lineOffset:line})};
return function load(name){
const part=parts()[name];
if(part===undefined)return require(name);
const known=loaded.get(name);
if(known!==undefined)return known.exports;
const module={exports:{}};
loaded.set(name,module);
(part.code??compile(part))(module,module.exports,load,__filename);
return module.exports}
})(require,()=>parts);
`

interface Part {
  readonly name: string
  readonly eager: boolean
  /** As CommonJS, with one line break at its end. */
  readonly text: string
}

function format({ name, eager, text }: Part, line: number): string {
  if (eager) return `${JSON.stringify(name)}:{code(module,exports,require,__filename){\n${text}}},\n`
  return `${JSON.stringify(name)}:{line:${line},text(){/*\n${text.replaceAll('*/', '*\x01/')}*/}},\n`
}

/** The one file: its first line, the require of all parts, the parts, and the call of the entry. */
function join(banner: string, parts: readonly Part[]): string {
  const texts = [`${banner}"use strict";\n${REGISTRY}const parts={\n`]
  const count = (text: string): number => text.split('\n').length - 1
  let line = count(texts.join(''))
  for (const part of parts) {
    const text = format(part, line)
    texts.push(text)
    line += count(text)
  }
  return `${texts.join('')}};\nrequire("main");\n`
}

interface Build {
  readonly metafile: Metafile
  readonly outputFiles: NonNullable<BuildResult['outputFiles']>
  readonly esbuild: PluginBuild['esbuild']
  readonly options: TransformOptions
}

async function toParts({ metafile, outputFiles, esbuild, options }: Build): Promise<readonly Part[]> {
  const outputs = Object.entries(metafile.outputs)
  const [entry = ''] = outputs.find(([, { entryPoint }]) => entryPoint === 'src/main.ts') ?? []
  const eager = listEager(metafile, entry)
  // esbuild's own names carry a hash, which is neither like anything else in the text nor the same in the next version.
  const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
  const names = new Map(outputs.map(([path, output]) => [baseOf(path), nameOf(output)]))
  const parts = outputs.map(async ([path]) => {
    const file = outputFiles.find((it) => baseOf(it.path) === baseOf(path))
    const code = file?.text.replace(/^#!.*\n/, '') ?? ''
    const renamed = code.replaceAll(/"\.\/([^"/]+\.js)"/g, (all, base: string) =>
      names.has(base) ? JSON.stringify(names.get(base)) : all,
    )
    const { code: text } = await esbuild.transform(renamed, options)
    return { name: names.get(baseOf(path)) ?? path, eager: eager.has(path), text: `${text.trimEnd()}\n` }
  })
  const compare = (a: Part, b: Part): number => Number(b.eager) - Number(a.eager) || (a.name < b.name ? -1 : 1)
  return (await Promise.all(parts)).sort(compare)
}

/** An esbuild plugin that makes one file of a build with `splitting`. What `append` answers follows it as a comment. */
export function oneFile(banner: string, append: (metafile: Metafile) => string): Plugin {
  return {
    name: 'one-file',
    setup: ({ onEnd, esbuild, initialOptions }) => {
      const { target = 'node18', lineLimit = 120 } = initialOptions
      const options: TransformOptions = {
        ...{ format: 'cjs', platform: 'node', target, lineLimit, legalComments: 'none' },
        // White space goes and names stay: a stack trace is to be read.
        minifyWhitespace: true,
        // One character beyond Latin-1 makes V8 hold and scan the whole file in two bytes a character.
        charset: 'ascii',
        // `import()` becomes a require: Node's loader for ES modules takes 3 ms to wake up.
        supported: { 'dynamic-import': false },
      }
      onEnd(async ({ metafile, outputFiles, errors }) => {
        const file = outputFiles?.find(({ path }) => path.endsWith('/main.js'))
        if (metafile === undefined || outputFiles === undefined || file === undefined || errors.length > 0) return
        const parts = await toParts({ metafile, outputFiles, esbuild, options })
        file.contents = Buffer.from(`${join(banner, parts)}\n${append(metafile)}`)
        outputFiles.splice(0, outputFiles.length, file)
      })
    },
  }
}
