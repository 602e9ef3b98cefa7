import { readdirSync, readFileSync, renameSync } from 'node:fs'
import { defineConfig, type Options } from 'tsup'
import { version } from './package.json'

type Plugin = NonNullable<Options['esbuildPlugins']>[number]

/** The folder and the name of the package that a file of the bundle came from; the innermost, where they nest. */
const packageOf = /^(.*node_modules\/((?:@[^/]+\/)?[^/]+))\//

function licenceOf(folder: string): string {
  const file = readdirSync(folder).find((name) => /^(licen[cs]e|copying)/i.test(name))
  if (file === undefined) throw new Error(`${folder} has no licence text, so it cannot be bundled`)
  return readFileSync(`${folder}/${file}`, 'utf8').replaceAll('\r\n', '\n').replaceAll('*/', '* /').trim()
}

/** Every licence text once, after the names of the packages that are under it. */
function licences(paths: string[]): string {
  const packages = paths.map((path) => packageOf.exec(path)).filter((match) => match !== null)
  const folders = new Map(packages.map(([, folder = '', name = '']) => [name, folder]))
  const namesByText = new Map<string, string[]>()
  for (const name of [...folders.keys()].sort()) {
    const text = licenceOf(folders.get(name) ?? '')
    namesByText.set(text, [...(namesByText.get(text) ?? []), name])
  }
  const sections = [...namesByText].map(([text, names]) => `${names.join(', ')}\n\n${text}\n`)
  const text = `/*\nThis file contains the following packages, each under its own licence.\n\n${sections.join('\n\n')}*/\n`
  return text.replaceAll(/\P{ASCII}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

type Metafile = NonNullable<Parameters<Parameters<Parameters<Plugin['setup']>[0]['onEnd']>[0]>[0]['metafile']>

/** The files of which something stands in the output. */
function usedFiles(metafile: Metafile | undefined): string[] {
  return Object.values(metafile?.outputs ?? {}).flatMap(({ inputs }) =>
    Object.keys(inputs).filter((path) => (inputs[path]?.bytesInOutput ?? 0) > 0),
  )
}

/** What is loaded by `await import()` only, and what of it we use. */
const LAZY: Readonly<Record<string, string>> = {
  execa: "export { execa } from 'execa'",
  yargs: "export { default } from 'yargs'",
}
/** The lazy packages' text as it stands in the file, and the files it is made of. */
const appendix = new Map<string, { readonly text: string; readonly files: readonly string[] }>()

/** Looks the package's text up in the script's own file and compiles it, as Node's loader does with a module. */
const loaderOf = (name: string): string => `
  const text = require('node:fs').readFileSync(__filename, 'latin1')
  const start = text.lastIndexOf('\\n/* ${name}, compiled when it is first needed:\\n')
  const body = text.slice(text.indexOf(':\\n', start) + 2, text.indexOf('*/', start + 3)).replaceAll('*\\x01/', '*/')
  const names = ['module', 'exports', 'require', '__filename', '__dirname']
  require('node:vm').compileFunction(body, names, { filename: '${name}' })(module, exports, require, __filename, __dirname)`

/**
 * Lazy packages stand in the file as comments, and are compiled when they are first imported: to skim 400 kB of
 * functions that most runs never call took 7 ms of every start, where bare node takes 20.
 */
const embedLazily: Plugin = {
  name: 'embed-lazily',
  setup: ({ onResolve, onLoad, initialOptions, esbuild }) => {
    onResolve({ filter: new RegExp(`^(${Object.keys(LAZY).join('|')})$`) }, ({ path, kind }) =>
      kind === 'dynamic-import' ? { path, namespace: 'lazy' } : undefined,
    )
    onLoad({ filter: /.*/, namespace: 'lazy' }, async ({ path }) => {
      const { define = {}, inject = [], target = 'node18', charset = 'ascii' } = initialOptions
      const { outputFiles, metafile } = await esbuild.build({
        ...{ define, inject, target, charset, bundle: true, format: 'cjs', platform: 'node' },
        ...{ write: false, metafile: true, minifyWhitespace: true, lineLimit: 120, legalComments: 'none' },
        stdin: { contents: LAZY[path] ?? '', resolveDir: '.' },
      })
      appendix.set(path, { text: outputFiles[0]?.text ?? '', files: usedFiles(metafile) })
      return { contents: loaderOf(path) }
    })
  },
}

/** The comment in which a lazy package's text stands. */
function toComment(name: string): string {
  return `/* ${name}, compiled when it is first needed:\n${appendix.get(name)?.text.replaceAll('*/', '*\x01/')}*/\n`
}

/** Licence texts travel with the one file that users copy; only esbuild knows which packages got into it. */
const appendLicences: Plugin = {
  name: 'append-licences',
  setup: (build) =>
    build.onEnd(({ metafile, outputFiles = [] }) => {
      const names = [...appendix.keys()].sort()
      const files = names.flatMap((name) => appendix.get(name)?.files ?? [])
      const text = [...names.map(toComment), licences([...usedFiles(metafile), ...files])].join('\n')
      for (const file of outputFiles) file.contents = Buffer.concat([file.contents, Buffer.from(`\n${text}`)])
    }),
}

export default defineConfig(({ outDir = 'dist' }) => ({
  entry: ['src/main.ts'],
  outDir,
  // An ESM file without extension does nothing under a "type": "commonjs" scope, and exits 0.
  format: 'cjs',
  platform: 'node',
  target: 'node18',
  banner: { js: '#!/usr/bin/env node' },
  define: { PIPEWORK_VERSION: JSON.stringify(version) },
  noExternal: [/.*/],
  // yargs 17 would look for its locale file relative to the current directory.
  shims: true,
  removeNodeProtocol: false,
  splitting: false,
  // White space goes and names stay; the limit on lines is for an uncaught error, which prints the line it is in.
  minifyWhitespace: true,
  // A build must not take away the file that somebody is running: it is replaced in one rename.
  clean: false,
  silent: true,
  esbuildPlugins: [embedLazily, appendLicences],
  esbuildOptions: (options) => {
    // `await import('node:…')` becomes a require: Node's loader for ES modules takes 3 ms to wake up.
    options.supported = { 'dynamic-import': false }
    // One character beyond Latin-1 makes V8 hold and scan the whole file in two bytes a character.
    options.charset = 'ascii'
    options.lineLimit = 120
  },
  // tsup cannot write a name without extension.
  onSuccess: () => Promise.resolve(renameSync(`${outDir}/main.js`, `${outDir}/pipework`)),
}))
