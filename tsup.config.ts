import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { defineConfig, type Options } from 'tsup'
import { version } from './package.json'
import { type Metafile, oneFile } from './scripts/parts'

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

/** The files of which something stands in the output. */
function usedFiles(metafile: Metafile): string[] {
  return Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.keys(inputs).filter((path) => (inputs[path]?.bytesInOutput ?? 0) > 0),
  )
}

/** `import text from 'file?raw'`: what a shell reads stands in a file of its own, and travels in the one script. */
const embedText: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'embed-text',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /\?raw$/ }, ({ path, resolveDir }) => ({
      // Relative, so that the build is the same in every folder.
      path: relative(process.cwd(), join(resolveDir, path.slice(0, -4))),
      namespace: 'raw',
    }))
    onLoad({ filter: /.*/, namespace: 'raw' }, ({ path }) => ({ contents: readFileSync(path, 'utf8'), loader: 'text' }))
  },
}

export default defineConfig(({ outDir = 'dist' }) => ({
  entry: ['src/main.ts'],
  outDir,
  // For esbuild, which cuts only ES modules into chunks. The file is CommonJS: an ESM file without extension does
  // nothing under a "type": "commonjs" scope, and exits 0.
  format: 'esm',
  splitting: true,
  outExtension: () => ({ js: '.js' }),
  platform: 'node',
  target: 'node18',
  define: {
    PIPEWORK_VERSION: JSON.stringify(version),
    // Whether PIPEWORK_FAIL_AFTER and PIPEWORK_KILL_AFTER stop a run at a step: in the build that scripts/bats makes.
    PIPEWORK_TEST_HOOKS: JSON.stringify(process.env.PIPEWORK_TEST_BUILD !== undefined),
    // Where yargs looks for its translations, of which it needs none: a place where nobody can put any.
    __dirname: JSON.stringify('/proc/none/yargs'),
  },
  noExternal: [/.*/],
  removeNodeProtocol: false,
  // A build must not take away the file that somebody is running: it is replaced in one rename.
  clean: false,
  silent: true,
  // Licence texts travel with the one file that users copy; only esbuild knows which packages got into it.
  esbuildPlugins: [embedText, oneFile('#!/usr/bin/env node\n', (metafile) => licences(usedFiles(metafile)))],
  // tsup cannot write a name without extension, and makes a file executable that begins with #!.
  onSuccess: async () => {
    renameSync(`${outDir}/main.js`, `${outDir}/pipework`)
    writeFileSync(`${outDir}/pipework.8`, execFileSync(process.execPath, [`${outDir}/pipework`, 'help', '--man']))
  },
}))
