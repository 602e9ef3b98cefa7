import * as fs from 'node:fs'
import {
  couldBeTerminal,
  createDirectoryWatch,
  isDangling,
  isExecutableFile,
  tryOr,
  writeAll,
  writeFileAtomic,
} from './files'
import { followHttp, getOverUnixSocket } from './http'
import { createLocks } from './locks'
import { createNetnsHolder } from './netns'
import { createProgramRunner, followProgram } from './process'
import type { NodeProcess, System } from './types'

async function readInterfaceAddresses(ifname: string): Promise<readonly string[]> {
  const { networkInterfaces } = await import('node:os')
  // A labelled address is listed under its label: eth1:2.
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    name === ifname || name.startsWith(`${ifname}:`) ? addresses.map(({ address }) => address) : [],
  )
}

/** Follows a source until it ends or the signal aborts. */
async function followSource(...[source, follower, signal]: Parameters<System['followLines']>): Promise<string> {
  if (signal.aborted) return ''
  return 'argv' in source ? followProgram(source.argv, follower, signal) : followHttp(source, follower, signal)
}

/** Reports each typed line. Not through a file stream: a pending read of the terminal would keep the process alive. */
async function watchInputLines(onLine: () => void): Promise<() => void> {
  const { ReadStream } = await import('node:tty')
  const input = new ReadStream(0)
  input.on('data', onLine).on('error', () => {})
  return () => input.destroy()
}

/** V8 grows the young generation by this factor, up to 32 MB, and reads the setting each time. */
async function limitYoungGeneration(): Promise<void> {
  const { setFlagsFromString } = await import('node:v8')
  setFlagsFromString('--semi-space-growth-factor=1')
}

function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (seconds === 0) return void setImmediate(resolve)
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, seconds * 1000)
    if (signal?.aborted) end()
    else signal?.addEventListener('abort', end)
  })
}

async function sendUdpPacket(packet: Uint8Array, { from, to, port }: Parameters<System['sendUdp']>[1]): Promise<void> {
  const { createSocket } = await import('node:dgram')
  return new Promise((resolve) => {
    const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4')
    const end = () => socket.close(() => resolve())
    socket.on('error', end)
    socket.bind({ address: from, port: 0 }, () => socket.send(packet, port, to, end))
  })
}

async function md5(text: string): Promise<string> {
  const { createHash } = await import('node:crypto')
  return createHash('md5').update(text).digest('hex')
}

/** The calls that read files; undefined when a file cannot be read. */
const FILE_READS: Pick<System, 'read' | 'list' | 'readLink' | 'realPath' | 'inode' | 'mtime'> = {
  read: (path) => tryOr(() => fs.readFileSync(path, 'utf8').trimEnd()),
  // Checking first is cheaper than throwing.
  list: (path) => (fs.existsSync(path) ? tryOr(() => fs.readdirSync(path)) : undefined),
  readLink: (path) => tryOr(() => fs.readlinkSync(path)),
  realPath: (path) => tryOr(() => fs.realpathSync(path)),
  inode: (path) => tryOr(() => fs.statSync(path, { throwIfNoEntry: false })?.ino),
  mtime: (path) => tryOr(() => fs.statSync(path).mtimeMs),
}

/** The real host. */
export function createSystem(self: NodeProcess): System {
  return {
    pid: self.pid,
    isRoot: self.uid === 0,
    selfCommand: self.selfCommand,
    env: self.env,
    ...FILE_READS,
    isDanglingLink: isDangling,
    hasProgram: (program) => (self.env.PATH ?? '').split(':').some((dir) => isExecutableFile(`${dir}/${program}`)),
    ...createProgramRunner(self),
    kill: (pid) => void tryOr(() => self.kill(pid, 'SIGKILL')),
    onInputLine: watchInputLines,
    interfaceAddresses: readInterfaceAddresses,
    httpGet: getOverUnixSocket,
    followLines: followSource,
    limitHeapGrowth: limitYoungGeneration,
    forwardSignals: (tell) => self.forwardSignals(tell),

    watchDirectory: createDirectoryWatch,
    writeFile: writeFileAtomic,
    overwriteFile: (path, text) => fs.writeFileSync(path, text),
    sendUdp: sendUdpPacket,
    holdNetns: createNetnsHolder(self),
    ...createLocks(self),
    md5,

    terminalColumns: () => (couldBeTerminal(1) ? self.terminalColumns() : undefined),
    elapsed: () => self.uptime() * 1000,
    now: () => Date.now(),
    sleep,
    isTerminal: async (fd) => (await import('node:tty')).isatty(fd),
    write: writeAll,
  }
}
