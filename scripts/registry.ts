import type * as Fs from 'node:fs'
import type * as Vm from 'node:vm'

// The head of dist/pipework: the require of its parts (see parts.ts, which builds it in). A part is compiled when it is
// first required. What V8 compiled is kept for the next run of the same command, as Python keeps its .pyc, until the
// machine restarts.

interface Module {
  exports: unknown
}

type Load = (name: string) => unknown
type Body = (...args: readonly [module: Module, exports: unknown, require: Load, filename: string]) => void

/** A part that every run needs. */
interface EagerPart {
  code: Body
}

/** Another part: the line on which its text begins, and a function that holds the text as a comment. */
interface LazyPart {
  readonly line: number
  text(): void
}

type Parts = Readonly<Record<string, EagerPart | LazyPart | undefined>>

interface Program {
  readonly require: Load
  readonly filename: string
  /** A digest of the program: a new build never reads what an old one kept. */
  readonly build: string
  parts(): Parts
}

interface CacheFile {
  readonly folder: string
  /** One for each command, so that no run reads what it does not need. */
  readonly name: string
  /** What the code was compiled for: V8 keeps the path of a script for stack traces. */
  readonly key: string
}

/** The second line of a cache file, after a checksum of all that follows it; then the compiled parts, in this order. */
interface CacheHeader {
  readonly key: string
  readonly parts: readonly (readonly [name: string, bytes: number])[]
}

/** Compiled parts by name. */
type Cache = ReadonlyMap<string, Buffer>

/** The folder of the user's own that lasts until the machine restarts. */
function findFolder(): string | undefined {
  if (process.env.NODE_DISABLE_COMPILE_CACHE) return undefined
  if (process.geteuid?.() === 0) return '/run/pipework/code'
  const { XDG_RUNTIME_DIR: folder } = process.env
  return folder?.startsWith('/') ? `${folder}/pipework-code` : undefined
}

function findCacheFile({ build, filename, parts }: Program): CacheFile | undefined {
  const folder = findFolder()
  if (folder === undefined) return undefined
  const { arch, versions, argv, execArgv } = process
  const word = argv[2]?.replace(/^_+/, '') ?? ''
  const command = Object.hasOwn(parts(), `commands/${word}`) ? word : 'attach'
  const name = `${build}-${arch}-${versions.node}-${command}`
  return { folder, name, key: JSON.stringify([filename, ...execArgv]) }
}

/** Whether only this user can have written it. */
function isOwn({ uid, mode }: Fs.Stats): boolean {
  return uid === process.geteuid?.() && (mode & 0o022) === 0
}

/** Fletcher's checksum over 32-bit words: V8 itself does not notice a damaged cache, and may run it. */
function checksumOf(bytes: Uint8Array): number {
  const words = new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~3)))
  let [sum, sums] = [bytes.length, 0]
  for (let at = 0; at < words.length; at += 1) {
    sum = (sum + (words[at] ?? 0)) | 0
    sums = (sums + sum) | 0
  }
  for (let at = bytes.length & ~3; at < bytes.length; at += 1) sum = (sum * 31 + (bytes[at] ?? 0)) | 0
  return sum ^ sums
}

/** The parts in a cache file; none when it is not whole, or others could have written it. */
function readCache(fs: typeof Fs, { folder, name, key }: CacheFile): Cache {
  const cache = new Map<string, Buffer>()
  let fd: number | undefined
  try {
    fd = fs.openSync(`${folder}/${name}`, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW)
    const stats = fs.fstatSync(fd)
    if (!isOwn(stats) || !isOwn(fs.lstatSync(folder))) return cache
    const bytes = Buffer.allocUnsafe(stats.size)
    if (fs.readSync(fd, bytes) < stats.size) return cache
    const start = bytes.indexOf('\n') + 1
    if (bytes.toString('latin1', 0, start) !== `${checksumOf(bytes.subarray(start))}\n`) return cache
    let at = bytes.indexOf('\n', start) + 1
    const header = JSON.parse(bytes.toString('utf8', start, at)) as CacheHeader
    if (header.key !== key) return cache
    for (const [part, length] of header.parts) {
      cache.set(part, bytes.subarray(at, at + length))
      at += length
    }
  } catch {
    // There is none yet.
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
  return cache
}

/** Replaces the cache in one rename, and removes those of other builds. Where there is no room for it nothing is left. */
function writeCache(fs: typeof Fs, { folder, name, key }: CacheFile, cache: Cache): void {
  const path = `${folder}/new-${process.pid}`
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
    if (!isOwn(fs.lstatSync(folder))) return
    const build = name.slice(0, name.indexOf('-') + 1)
    for (const file of fs.readdirSync(folder)) if (!file.startsWith(build)) fs.rmSync(`${folder}/${file}`)
    const header: CacheHeader = { key, parts: [...cache].map(([part, { length }]) => [part, length] as const) }
    const body = Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), ...cache.values()])
    fs.writeFileSync(path, `${checksumOf(body)}\n`, { mode: 0o600, flag: 'wx' })
    fs.appendFileSync(path, body)
    fs.renameSync(path, `${folder}/${name}`)
  } catch {
    try {
      fs.rmSync(path, { force: true })
    } catch {
      // The folder cannot be written to: the next run compiles as this one did.
    }
  }
}

/** The text in the comment, in which no `*` stands before a `/`. */
function readText({ text }: LazyPart): string {
  const source = text.toString()
  return source.slice(source.indexOf('/*') + 2, source.lastIndexOf('*/')).replaceAll('*\x01/', '*/')
}

/** Compiles parts, or takes what an earlier run compiled. */
function createCompiler(program: Program): (name: string, part: LazyPart) => Body {
  const fs = program.require('node:fs') as typeof Fs
  const { Script } = program.require('node:vm') as typeof Vm
  const file = findCacheFile(program)
  const cache = file === undefined ? new Map<string, Buffer>() : readCache(fs, file)
  const fresh = new Map<string, Vm.Script>()
  if (file !== undefined)
    process.on('exit', () => {
      // At the end: with the functions that were called, and without the others.
      const compiled = [...fresh].map(([name, script]) => [name, script.createCachedData()] as const)
      if (compiled.length > 0) writeCache(fs, file, new Map([...cache, ...compiled]))
    })
  return (name, part) => {
    const cachedData = cache.get(name)
    const script = new Script(readText(part), { filename: program.filename, lineOffset: part.line, cachedData })
    if (cachedData === undefined || script.cachedDataRejected) fresh.set(name, script)
    return script.runInThisContext() as Body
  }
}

/** The require of a program's parts, each of which runs once, when it is first required. */
export function createRegistry(program: Program): Load {
  const { require, filename, parts } = program
  let compile: ReturnType<typeof createCompiler> | undefined
  const loaded = new Map<string, Module>()
  return function load(name) {
    const module = loaded.get(name)
    if (module !== undefined) return module.exports
    const part = parts()[name]
    if (part === undefined) return require(name)
    if (!('code' in part)) compile ??= createCompiler(program)
    const body = 'code' in part ? part.code : compile?.(name, part)
    const fresh: Module = { exports: {} }
    loaded.set(name, fresh)
    body?.(fresh, fresh.exports, load, filename)
    return fresh.exports
  }
}
