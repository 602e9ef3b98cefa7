import type { BatchLine } from './batch'

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One run of `ip -batch`. */
export interface IpBatch {
  /** The namespace's name for `ip -n`; absent for the host's own. */
  readonly netns?: string
  readonly lines: readonly BatchLine[]
  /** The wanted output: `json` is a document with all details for each line. Absent for none. */
  readonly output?: 'json' | 'text'
  /** Whether to continue after a line that fails. */
  readonly force?: true
}

export interface HttpResponse {
  readonly status: number
  readonly body: string
}

/** A source of lines: the answer to a GET over a Unix socket, or the output of a program. */
export type LineSource = { readonly socket: string; readonly path: string } | { readonly argv: readonly string[] }

/** The callbacks of a followed source. */
export interface LineFollower {
  /** Called once, when the source starts to answer. */
  onOpen(): void
  onLine(line: string): void
}

/** A network namespace held open, and its name for `ip -n` while it is. */
export interface HeldNetns {
  readonly netns: string
  readonly inode: number
  release(): void
}

export interface DirectoryWatch {
  /** Resolves when something in it has changed since the last call, and after that many seconds at the latest. */
  nextChange(seconds: number): Promise<void>
  close(): void
}

/** Everything outside this process. Reads are synchronous and only read files of the kernel. */
export interface System {
  /** pipework's PID, which identifies its namespace in `ip link set … netns`. */
  readonly pid: number
  readonly isRoot: boolean
  /** The paths of node and of the script that it runs. */
  readonly selfCommand: readonly [string, string]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The file's text without trailing white space; undefined when it cannot be read. */
  read(path: string): string | undefined
  /** The names in a directory; undefined when it does not exist. */
  list(path: string): readonly string[] | undefined
  /** The target of a symbolic link, or undefined. */
  readLink(path: string): string | undefined
  /** The absolute path without symbolic links; undefined when it does not exist. */
  realPath(path: string): string | undefined
  /** The inode that the path leads to, or undefined. */
  inode(path: string): number | undefined
  /** When the path's target was last written, in milliseconds since 1970, or undefined. */
  mtime(path: string): number | undefined
  /** True when the path is a symbolic link without a target; false also when that cannot be determined. */
  isDanglingLink(path: string): boolean
  /** True when a program of that name is on the PATH. */
  hasProgram(program: string): boolean
  /** Sends lines to the kernel through one `ip -batch`. Throws when `ip` is not installed or hangs. */
  runIpBatch(batch: IpBatch): Promise<CommandResult>
  /**
   * Runs another program, never a shell, for at most 30 seconds or the given limit; it gets the input and a newline.
   * Throws when it is not installed or hangs; any exit status is a result.
   */
  run(argv: readonly string[], limit?: number, input?: string): Promise<CommandResult>
  /** The same for pipework's own scripts, in a clean environment and without output; their children may stay. */
  runScript(argv: readonly string[]): Promise<CommandResult>
  /**
   * Runs a program in pipework's place: with its terminal, streams and process group, without a time limit. Returns its
   * exit status, or 128 plus the number of the signal that ended it.
   */
  runForeground(argv: readonly string[]): Promise<number>
  /**
   * Starts pipework with these words in a session of its own, independent of the terminal and of this process. Resolves
   * when it reports that it is ready. Throws when it does not within 30 seconds.
   */
  spawnDetached(words: readonly string[]): Promise<void>
  /** Sends SIGKILL to another process. */
  kill(pid: number): void
  /** Calls `tell` for each typed line, until the returned function is called. */
  onInputLine(tell: () => void): Promise<() => void>
  /** GET over a Unix socket. Rejects with the system's error, whose `code` says why. */
  httpGet(socket: string, path: string, limit: number): Promise<HttpResponse>
  /** Follows a source until it ends or the signal aborts. Returns why it ended; empty when the signal ended it. */
  followLines(source: LineSource, follower: LineFollower, signal: AbortSignal): Promise<string>
  /** For long-running processes: V8 does not grow its heap for short bursts, which would keep 30 MB. */
  limitHeapGrowth(): Promise<void>
  /** From now on signals call `tell`, and do nothing else. */
  forwardSignals(tell: (signal: NodeJS.Signals) => void): void
  /** The IPv4 and IPv6 addresses of an interface of our own namespace that is up; starts no process. */
  interfaceAddresses(ifname: string): Promise<readonly string[]>
  /** Watches a directory; when the kernel's inotify limit is reached, only the timeout applies. */
  watchDirectory(path: string): DirectoryWatch
  /**
   * Writes a file and its parent directories, or removes the file when there is no text. Only root can read it, unless
   * `use` is `everybody`, or `program` for an executable. The write is atomic.
   */
  writeFile(path: string, text: string | undefined, use?: 'everybody' | 'program'): void
  /** Opens a namespace's file and names it in /run/netns until it is released. */
  holdNetns(path: string): HeldNetns
  /** Overwrites a file in place, so that mounts of it see the new text. Throws the system's error. */
  overwriteFile(path: string, text: string): void
  /** Sends one UDP packet from an address of this process's namespace; errors are ignored. */
  sendUdp(packet: Uint8Array, way: { readonly from: string; readonly to: string; readonly port: number }): Promise<void>
  /** Takes the lock of that name until it is released or the process ends; undefined when another run has it. */
  tryLock(name: string): Promise<(() => void) | undefined>
  /** The PID of the living process that holds the lock. */
  findLockOwner(name: string): number | undefined
  /** MD5 in hexadecimal: the original derives a MAC address from U:TEXT with it. */
  md5(text: string): Promise<string>
  /** The width of the terminal on standard output; undefined without a terminal. */
  terminalColumns(): number | undefined
  /** Milliseconds since the process started. */
  elapsed(): number
  /** The clock time in milliseconds since 1970. */
  now(): number
  /** Sleeps; the signal ends it early. 0 seconds: lets pending requests start. */
  sleep(seconds: number, signal?: AbortSignal): Promise<void>
  /** Whether the descriptor is a terminal: 0 is standard input, 1 and 2 as below. */
  isTerminal(fd: 0 | 1 | 2): Promise<boolean>
  /** Writes to standard output (1) or standard error (2). */
  write(fd: 1 | 2, text: string): void
}

/** Whether a signal requested a stop: the running step is finished, then everything is rolled back. */
export interface Interrupt {
  readonly requested: boolean
}

/** The parts of `process` that main.ts passes on. */
export interface NodeProcess {
  readonly pid: number
  readonly selfCommand: readonly [string, string]
  readonly uid: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** Seconds since it started. */
  uptime(): number
  /** The width of the terminal on standard output; undefined without a terminal. */
  terminalColumns(): number | undefined
  /** Sends a signal to a process, or to its group with a negative number. */
  kill(pid: number, signal: NodeJS.Signals): void
  /** From now on signals call `tell`, and do nothing else. */
  forwardSignals(tell: (signal: NodeJS.Signals) => void): void
  onExit(action: () => void): void
}
