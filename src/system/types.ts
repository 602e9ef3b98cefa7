import type { BatchLine } from './batch'

/** What a command answered. */
export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One run of `ip -batch`. */
export interface IpBatch {
  /** The namespace, as `ip -n` takes it; the host's own when absent. */
  readonly netns?: string
  readonly lines: readonly BatchLine[]
  /** What is wanted of its output: with `json`, a document with all details for each line. Nothing when absent. */
  readonly output?: 'json' | 'text'
  /** Whether to go on past a line that fails. */
  readonly force?: true
}

/** An answer over HTTP. */
export interface HttpResponse {
  readonly status: number
  readonly body: string
}

/** What can be followed line by line: the answer to a GET over a Unix socket, or what a program prints. */
export type LineSource = { readonly socket: string; readonly path: string } | { readonly argv: readonly string[] }

/** Who follows a source. */
export interface LineFollower {
  /** Told once, when the source has begun to answer. */
  onOpen(): void
  onLine(line: string): void
}

/** A network namespace held open, and its name for `ip -n` while it is. */
export interface HeldNetns {
  readonly netns: string
  readonly inode: number
  release(): void
}

/** A directory that is watched. */
export interface DirectoryWatch {
  /** Resolves when something in it has changed since the last time, and after that many seconds at the latest. */
  nextChange(seconds: number): Promise<void>
  close(): void
}

/** The outside world. Reads are plain calls: they ask the kernel's files and nothing else. */
export interface System {
  /** Our own process, which names our own namespace to `ip link set … netns`. */
  readonly pid: number
  readonly isRoot: boolean
  /** The node that runs this, and the script that it runs: absolute paths. */
  readonly selfCommand: readonly [string, string]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The file's text without the white space at its end, or undefined when it cannot be read. */
  read(path: string): string | undefined
  /** The names in a directory, or undefined when there is none. */
  list(path: string): readonly string[] | undefined
  /** Where a symbolic link points, or undefined. */
  readLink(path: string): string | undefined
  /** The path without symbolic links, from the root, or undefined when it leads nowhere. */
  realPath(path: string): string | undefined
  /** The inode of what the path leads to, or undefined. */
  inode(path: string): number | undefined
  /** When what the path leads to was made or last written, in milliseconds since 1970, or undefined. */
  mtime(path: string): number | undefined
  /** True when the path is a symbolic link that leads nowhere; false also where that cannot be told. */
  isDanglingLink(path: string): boolean
  /** True when a program of that name is on the PATH. */
  hasProgram(program: string): boolean
  /** Sends lines to the kernel through one `ip -batch`. Throws when ip is not installed or does not end. */
  runIpBatch(batch: IpBatch): Promise<CommandResult>
  /**
   * Runs another program, never a shell, for 30 seconds at most unless another limit is given; it reads the input
   * and a newline.
   * Throws when it is not installed or does not end; an exit status is an answer.
   */
  run(argv: readonly string[], limit?: number, input?: string): Promise<CommandResult>
  /** The same for a script of ours, in a clean environment and without its output; what it starts may stay. */
  runScript(argv: readonly string[]): Promise<CommandResult>
  /**
   * Runs a program in our place: with our terminal, streams and process group, for as long as it likes.
   * Its exit status, or 128 and the number of the signal that ended it.
   */
  runForeground(argv: readonly string[]): Promise<number>
  /**
   * Starts pipework itself with these words, in a session of its own, where neither a terminal nor our own end reaches
   * it; comes back when it says that it is ready. Throws when it does not within 30 seconds.
   */
  spawnDetached(words: readonly string[]): Promise<void>
  /** kill -9 of another process. */
  kill(pid: number): void
  /** Tells of each line that is typed, until the answer is called. */
  onInputLine(tell: () => void): Promise<() => void>
  /** GET over a Unix socket. Rejects with the system's error, whose `code` says why. */
  httpGet(socket: string, path: string, limit: number): Promise<HttpResponse>
  /** Follows a source until it ends or the signal says so. Why it ended, in few words; nothing when it was the signal. */
  followLines(source: LineSource, follower: LineFollower, signal: AbortSignal): Promise<string>
  /** For who stays for days: V8 makes no room for the bursts of work that it has, which would be 30 MB, and kept. */
  limitHeapGrowth(): Promise<void>
  /** From now on signals are told to `tell`, and do nothing else. */
  forwardSignals(tell: (signal: NodeJS.Signals) => void): void
  /** The IPv4 and IPv6 addresses of an interface of our own namespace that is up and running; no process is started. */
  interfaceAddresses(ifname: string): Promise<readonly string[]>
  /** Watches a directory; where the kernel has no more room for that, only the time passes. */
  watchDirectory(path: string): DirectoryWatch
  /**
   * Writes a file and the directories above it, or removes it when there is no text: for root's eyes alone, unless it is
   * for everybody, or a program for root. The new text is there completely or not at all.
   */
  writeFile(path: string, text: string | undefined, use?: 'everybody' | 'program'): void
  /** Opens a namespace's file and gives it a name in /run/netns that lasts as long as the pin. */
  holdNetns(path: string): HeldNetns
  /** Writes over what a file has, which stays the file that is mounted elsewhere. Throws the system's error. */
  overwriteFile(path: string, text: string): void
  /** Sends one packet by UDP from an address of the namespace that this process is in; errors are nobody's. */
  sendUdp(packet: Uint8Array, way: { readonly from: string; readonly to: string; readonly port: number }): Promise<void>
  /** Takes the lock of that name until it is released or the process ends; undefined while another run has it. */
  tryLock(name: string): Promise<(() => void) | undefined>
  /** The PID of the living process that has the lock of that name. */
  findLockOwner(name: string): number | undefined
  /** MD5 in hexadecimal: how the original derives an address from U:TEXT. */
  md5(text: string): Promise<string>
  /** The width of the terminal on standard output; undefined where that is none. */
  terminalColumns(): number | undefined
  /** Milliseconds since the process started. */
  elapsed(): number
  /** The time of day, in milliseconds since 1970. */
  now(): number
  /** The signal ends it early. 0: until what was asked of others before is on its way. */
  sleep(seconds: number, signal?: AbortSignal): Promise<void>
  /** Whether a person reads what is written there, 1 or 2 as below, or types what is read from 0. */
  isTerminal(fd: 0 | 1 | 2): Promise<boolean>
  /** Writes to standard output (1) or standard error (2). */
  write(fd: 1 | 2, text: string): void
}

/** Whether a signal asked to stop: the running step is finished, then all is rolled back. */
export interface Interrupt {
  readonly requested: boolean
}

/** What main.ts lends of `process`. */
export interface NodeProcess {
  readonly pid: number
  readonly selfCommand: readonly [string, string]
  readonly uid: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** Seconds since it started. */
  uptime(): number
  /** The width of the terminal on standard output; undefined where that is none. */
  terminalColumns(): number | undefined
  /** Sends a signal to a process, or with a negative number to its group. */
  kill(pid: number, signal: NodeJS.Signals): void
  /** From now on signals are told to `tell` and do nothing else. */
  forwardSignals(tell: (signal: NodeJS.Signals) => void): void
  onExit(action: () => void): void
}
