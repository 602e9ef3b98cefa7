import { describe, expect, test } from 'vitest'
import { captureError } from '../system/fake'
import { ExitCode } from './errors'
import { formatVlanSet, parseVlanSet, type VlanSet } from './vlan'

describe('parseVlans', () => {
  test.each<[string, VlanSet, string?]>([
    ['1', { native: 1, tagged: [] }],
    ['4094', { native: 4094, tagged: [] }],
    ['10,20', { native: 10, tagged: [[20, 20]] }],
    ['10,20-22', { native: 10, tagged: [[20, 22]] }],
    ['10,11-12', { native: 10, tagged: [[11, 12]] }],
    [
      '10,30,2-4',
      {
        native: 10,
        tagged: [
          [2, 4],
          [30, 30],
        ],
      },
      '10,2-4,30',
    ],
    ['10,21,20,22-30', { native: 10, tagged: [[20, 30]] }, '10,20-30'],
    ['20-22', { tagged: [[20, 22]] }],
    ['20-20', { tagged: [[20, 20]] }],
    [
      '20-22,30',
      {
        tagged: [
          [20, 22],
          [30, 30],
        ],
      },
    ],
    [
      '20-22,5',
      {
        tagged: [
          [5, 5],
          [20, 22],
        ],
      },
      '5-5,20-22',
    ],
    ['1-4094', { tagged: [[1, 4094]] }],
  ])('takes %s', (typed, vlans, formatted = typed) => {
    expect(parseVlanSet(typed)).toEqual(vlans)
    expect(formatVlanSet(vlans)).toBe(formatted)
    expect(parseVlanSet(formatted)).toEqual(vlans)
  })

  test.each(['0', '4095', '9999', '10000', '01', '1.5', '0x10', 'ten', '', ' 5', '5\n'])('refuses %j', (typed) => {
    const refused = captureError(() => parseVlanSet(typed))
    expect(refused.message).toBe(`'${typed}' is not a VLAN id`)
    expect(refused.hint).toContain('1 to 4094')
    expect(refused.exitCode).toBe(ExitCode.usage)
  })

  test.each([
    ['-1', "'-1': '' is not a VLAN id"],
    ['10-', "'10-': '' is not a VLAN id"],
    ['10,', "'10,': '' is not a VLAN id"],
    [',10', "',10': '' is not a VLAN id"],
    ['10,0', "'10,0': '0' is not a VLAN id"],
    ['10-4095', "'10-4095': '4095' is not a VLAN id"],
    ['10,20-22-24', "'20-22-24' is not a range of VLANs"],
    ['10,22-20', "the range '22-20' runs backwards"],
    ['10,10', 'VLAN 10 is given twice'],
    ['10,9-11', 'VLAN 10 is given twice'],
    ['20-22,22-24', 'VLAN 22 is given twice'],
    ['20-30,25', 'VLAN 25 is given twice'],
  ])('refuses %j', (typed, message) => {
    const refused = captureError(() => parseVlanSet(typed))
    expect(refused.message).toContain(message)
  })
})
