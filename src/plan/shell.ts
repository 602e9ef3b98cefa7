import { dirname } from 'node:path'
import { shellQuote } from '../model/shell'
import {
  type Command,
  type CommandWord,
  emptyWord,
  type FileCommand,
  guestNetns,
  hostNetns,
  type Placeholder,
  type RunCommand,
} from './step'

/** The shell text of words that are known only at run time. */
const SHELL_PLACEHOLDERS: Readonly<Record<Placeholder, string>> = {
  [guestNetns]: '"$netns"',
  [hostNetns]: '$$',
  [emptyWord]: '""',
}

function toShellWord(word: CommandWord): string {
  return typeof word === 'symbol' ? SHELL_PLACEHOLDERS[word] : shellQuote(word)
}

function formatChmod({ path, readers, isExecutable }: FileCommand): string {
  if (readers === undefined && isExecutable === undefined) return ''
  return ` && chmod ${isExecutable ? '700' : '644'} ${shellQuote(path)}`
}

function formatCommand(command: Command): string {
  if (command.kind === 'file')
    return command.text === undefined
      ? `rm -f ${shellQuote(command.path)}`
      : `mkdir -p ${shellQuote(dirname(command.path))} && printf '%s\\n' ${shellQuote(command.text)} > ${shellQuote(command.path)}${formatChmod(command)}`
  if (command.kind !== 'ip') {
    const argv = command.argv.map(toShellWord).join(' ')
    const line = command.in === 'guest' ? `nsenter --net="/run/netns/$netns" ${argv}` : argv
    return command.kind === 'run' && command.input !== undefined ? `${line} <<'END'\n${command.input}\nEND` : line
  }
  const words = command.words.map(toShellWord)
  return ['ip', ...(command.in === 'guest' ? ['-n', '"$netns"'] : []), ...words].join(' ')
}

function formatRunConditions({ onlyIf, failIfStderr }: RunCommand, line: string): string {
  if (onlyIf !== undefined)
    return `[ "$(${onlyIf.argv.map(shellQuote).join(' ')} 2>/dev/null)" != ${shellQuote(onlyIf.equals)} ] || ${line}`
  if (failIfStderr === undefined) return line
  return [
    `said=$(${line} 2>&1) || { printf '%s\\n' "$said" >&2; exit 1; }`,
    `case $said in *${shellQuote(failIfStderr)}*) printf '%s\\n' "$said" >&2; exit 1 ;; esac`,
  ].join('\n')
}

/** The command as a line of POSIX shell, in which $netns names the guest's namespace. */
export function toShell(command: Command): string {
  const line = formatCommand(command)
  if (command.kind === 'ip' && command.onlyIfEmpty !== undefined)
    return `[ -n "$(ls -A ${shellQuote(command.onlyIfEmpty)} 2>/dev/null)" ] || ${line}`
  if (command.kind === 'run') return formatRunConditions(command, line)
  if (command.kind !== 'ask') return line
  const { retryWhile, retryUntil, failIf, retryOnExit, timeout } = command
  if (retryOnExit !== undefined)
    return `tries=${timeout}; until ${line}; do [ $? -eq ${retryOnExit} ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done`
  if (retryWhile === undefined && retryUntil === undefined && failIf === undefined) return line
  const again = '[ "$((tries -= 1))" -gt 0 ] || exit 1; sleep 0.1'
  return [
    `tries=${timeout * 10}`,
    `while answer=$(${line}); do`,
    '  case $answer in',
    ...(failIf === undefined ? [] : [`    *${failIf}*) printf '%s\\n' "$answer" >&2; exit 1 ;;`]),
    ...(retryWhile === undefined ? [] : [`    *${retryWhile}*) ${again} ;;`]),
    ...(retryUntil === undefined ? ['    *) break ;;'] : [`    *${retryUntil}*) break ;;`, `    *) ${again} ;;`]),
    '  esac',
    'done',
  ].join('\n')
}
