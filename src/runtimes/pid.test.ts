import { expect, test } from 'vitest'
import { parseGuestName } from '../model/guest-name'
import { createFakeSystem } from '../system/fake'
import { findGuest } from './find'

// As on Linux 6.18, with a name that tries to look like the rest.
const stat = (state: string) =>
  `5087 (s) Z 1 h) ${state} 5075 5087 5087 0 -1 4194560 1051 0 0 0 1 1 0 0 20 0 1 0 424868 2322432 401`

const find = (files: Record<string, string>) => findGuest(parseGuestName('pid:5087'), createFakeSystem({ files }))

test('a process is known by its number and by when it started', async () =>
  expect(await find({ '/proc/5087/stat': stat('S') })).toEqual({
    kind: 'pid',
    name: '5087',
    id: '424868',
    pid: 5087,
    nsPath: '/proc/5087/ns/net',
  }))

test('one that is not there', () => expect(find({})).rejects.toThrow("there is no process '5087'"))

test('one that has ended and that nobody has collected', () =>
  expect(find({ '/proc/5087/stat': stat('Z') })).rejects.toThrow('process 5087 has ended'))
