import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { PipeworkError } from '../model/errors'
import { captureError } from './fake'
import { toFileError, writeFileAtomic } from './files'

let directory = ''
beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'pipework-files-'))
})
afterEach(() => fs.rmSync(directory, { recursive: true }))

describe('writeFileAtomic', () => {
  test('makes the directories, and replaces the file', () => {
    const path = join(directory, 'a/b')
    writeFileAtomic(path, 'one')
    writeFileAtomic(path, 'two')
    expect(fs.readFileSync(path, 'utf8')).toBe('two\n')
    expect(fs.statSync(path).mode & 0o777).toBe(0o600)
    expect(fs.readdirSync(join(directory, 'a'))).toEqual(['b'])
  })

  test('leaves no temporary file when it fails, and says what to do', () => {
    const path = join(directory, 'taken')
    fs.mkdirSync(join(path, 'full'), { recursive: true })
    const error = captureError(() => writeFileAtomic(path, 'text'))
    expect(error.message).toContain(`could not write '${path}': `)
    expect(fs.readdirSync(directory)).toEqual(['taken'])
  })

  test('a file of another writer in the way does not matter', () => {
    const path = join(directory, 'file')
    fs.writeFileSync(`${path}.new`, 'of another run')
    writeFileAtomic(path, 'text')
    expect(fs.readFileSync(path, 'utf8')).toBe('text\n')
  })
})

describe('toFileError', () => {
  test.each([
    ['ENOSPC', 'ENOSPC: no space left on device, write', 'no space left on device', 'df -h /run/pipework'],
    ['EROFS', "EROFS: read-only file system, open '/run/x'", 'read-only file system', 'remount,rw'],
    ['EACCES', "EACCES: permission denied, open '/run/x'", 'permission denied', 'sudo'],
  ])('%s has a hint', (code, text, reason, hint) => {
    const error = toFileError('/run/pipework/x', Object.assign(new Error(text), { code }))
    expect(error).toBeInstanceOf(PipeworkError)
    expect((error as PipeworkError).message).toBe(`could not write '/run/pipework/x': ${reason}`)
    expect((error as PipeworkError).hint).toContain(hint)
  })

  test('a bug stays a bug', () => {
    const bug = new TypeError('x')
    expect(toFileError('/x', bug)).toBe(bug)
  })
})
