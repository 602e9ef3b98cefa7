import type * as Fs from 'node:fs'
import type * as Vm from 'node:vm'

// What stands at the head of dist/pipework: the require of its parts (see parts.ts, which builds this in). A part is
// compiled when it is first required, and its group with it. What V8 made of that is kept for the next run of the same
// command, as Python keeps its .pyc: in memory, gone with the next boot, below a folder that nobody else can write to.

interface Module {
  exports: unknown
}

type Load = (name: string) => unknown
type Body = (...args: readonly [module: Module, exports: unknown, require: Load, filename: string]) => void

type Bodies = Readonly<Record<string, Body | undefined>>

/** A part that every run needs. */
interface Eager {
  code: Body
}

/** Parts of which who needs one needs most: the line at which they begin, and a function that holds them as a comment. */
interface Group {
  readonly line: number
  text(): void
}

/** A string is the name of the group that the part is in. */
type Part = Eager | Group | string

interface File {
  readonly require: Load
  readonly filename: string
  /** Tells the parts of one build from those of another. */
  readonly build: string
  parts(): Readonly<Record<string, Part | undefined>>
}

/** What V8 made of groups, in earlier runs; a group that is kept is there for later ones. */
interface Compiled {
  find(name: string): Buffer | undefined
  keep(name: string, script: Vm.Script): void
}

/** What stands in a file of compiled groups before them, in one line. */
interface Contents {
  /** V8 holds on to the path that a group was compiled under: stack traces would name that. */
  readonly script: string
  /** The groups' names and lengths, one after the other as they stand. */
  readonly groups: readonly (readonly [name: string, length: number])[]
}

/** The user's folder for what lives until the machine is restarted. */
function findFolder(): string | undefined {
  if (process.geteuid?.() === 0) return '/run/pipework/code'
  const { XDG_RUNTIME_DIR: folder } = process.env
  return folder?.startsWith('/') ? `${folder}/pipework-code` : undefined
}

/** Whether nobody but this user can have written what is there. */
function isOwn({ uid, mode }: Fs.Stats): boolean {
  return uid === process.geteuid?.() && (mode & 0o022) === 0
}

/** The groups in a file; none where it is not whole or not ours. V8 itself refuses those of another version of it. */
function readGroups(fs: typeof Fs, { folder, name, script }: Place): ReadonlyMap<string, Buffer> {
  const groups = new Map<string, Buffer>()
  let fd: number | undefined
  try {
    fd = fs.openSync(`${folder}/${name}`, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW)
    const stats = fs.fstatSync(fd)
    if (!isOwn(stats) || !isOwn(fs.lstatSync(folder))) return groups
    const bytes = Buffer.allocUnsafe(stats.size)
    if (fs.readSync(fd, bytes) < stats.size) return groups
    let at = bytes.indexOf('\n') + 1
    const contents = JSON.parse(bytes.toString('utf8', 0, at)) as Contents
    const size = contents.groups.reduce((sum, [, length]) => sum + length, at)
    if (size !== bytes.length || contents.script !== script) return groups
    for (const [group, length] of contents.groups) {
      groups.set(group, bytes.subarray(at, at + length))
      at += length
    }
  } catch {
    // There is none yet.
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
  return groups
}

/** Writes them in one rename, so that nobody ever reads half of it, and takes away what other builds have left. */
function writeGroups(fs: typeof Fs, { folder, name, script, build }: Place, groups: ReadonlyMap<string, Buffer>): void {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (!isOwn(fs.lstatSync(folder))) return
  for (const file of fs.readdirSync(folder)) if (!file.startsWith(build)) fs.rmSync(`${folder}/${file}`)
  const contents: Contents = { script, groups: [...groups].map(([group, { length }]) => [group, length]) }
  const bytes = Buffer.concat([Buffer.from(`${JSON.stringify(contents)}\n`), ...groups.values()])
  const path = `${folder}/new-${process.pid}`
  fs.writeFileSync(path, bytes, { mode: 0o600, flag: 'wx' })
  fs.renameSync(path, `${folder}/${name}`)
}

interface Place {
  readonly folder: string
  /** Of the file: there is one for each command, so that no run reads what it does not need. */
  readonly name: string
  readonly script: string
  readonly build: string
}

function findPlace({ build, filename, parts }: File): Place | undefined {
  const folder = process.env.NODE_DISABLE_COMPILE_CACHE ? undefined : findFolder()
  if (folder === undefined) return undefined
  const word = process.argv[2]?.replace(/^_+/, '') ?? ''
  const command = parts()[`commands/${word}`] === undefined ? 'attach' : word
  const { arch, versions } = process
  return { folder, name: `${build}-${arch}-${versions.node}-${command}`, script: filename, build }
}

function openCompiled(file: File): Compiled | undefined {
  const place = findPlace(file)
  if (place === undefined) return undefined
  const fs = file.require('node:fs') as typeof Fs
  const known = readGroups(fs, place)
  const fresh = new Map<string, Vm.Script>()
  process.on('exit', () => {
    if (fresh.size === 0) return
    try {
      // Only now: with the functions that were called, and without those that were not.
      const compiled = [...fresh].map(([name, script]) => [name, script.createCachedData()] as const)
      writeGroups(fs, place, new Map([...known, ...compiled]))
    } catch {
      // No room, or not allowed: the next run compiles as this one did.
    }
  })
  return { find: (name) => known.get(name), keep: (name, script) => void fresh.set(name, script) }
}

/** The text in the comment, in which `*` and `/` are kept from ending it. A slice: nothing is copied. */
function readText({ text }: Group): string {
  const source = text.toString()
  return source.slice(source.indexOf('/*') + 2, source.lastIndexOf('*/')).replaceAll('*\x01/', '*/')
}

/** Compiles groups, each at the line at which it stands. */
function createCompiler(file: File): (name: string, group: Group) => Bodies {
  const { require, filename } = file
  const known: { compiled?: Compiled | undefined } = {}
  return (name, group) => {
    if (!('compiled' in known)) known.compiled = openCompiled(file)
    const { Script } = require('node:vm') as typeof Vm
    const cachedData = known.compiled?.find(name)
    const options = { filename, lineOffset: group.line, ...(cachedData === undefined ? {} : { cachedData }) }
    const script = new Script(readText(group), options)
    if (cachedData === undefined || script.cachedDataRejected) known.compiled?.keep(name, script)
    return script.runInThisContext() as Bodies
  }
}

/** The require of a file's parts, each of which runs once, when it is first required. */
export function createRegistry(file: File): Load {
  const { require, filename, parts } = file
  const compile = createCompiler(file)
  const groups = new Map<string, Bodies>()
  const loaded = new Map<string, Module>()
  const find = (name: string): Body | undefined => {
    const part = parts()[name]
    if (part === undefined) return undefined
    const [head, group] = typeof part === 'string' ? [part, parts()[part]] : [name, part]
    if (typeof group !== 'object') return undefined
    if ('code' in group) return group.code
    const bodies = groups.get(head) ?? compile(head, group)
    groups.set(head, bodies)
    return bodies[name]
  }
  return function load(name) {
    const module = loaded.get(name)
    if (module !== undefined) return module.exports
    const body = find(name)
    if (body === undefined) return require(name)
    const fresh: Module = { exports: {} }
    loaded.set(name, fresh)
    body(fresh, fresh.exports, load, filename)
    return fresh.exports
  }
}
