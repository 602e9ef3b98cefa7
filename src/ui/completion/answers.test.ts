import { describe, expect, test } from 'vitest'
import type { AttachmentReport } from '../../model/report'
import { captureError } from '../../system/fake'
import { type DiagramNode, formatDiagramTree } from '../format/diagram'
import { formatAttachmentTable, LIST_FIELDS, toTemplateFields } from '../format/list'
import { formatDot, formatSvg } from '../format/svg'
import { parseTemplate } from '../format/template'

const web: AttachmentReport = {
  guest: { kind: 'docker', name: 'web', id: '3f2a9c1d0b7e' },
  ifname: 'eth1',
  addresses: ['192.168.1.10/24@192.168.1.1', 'fd00::10/64@fd00::1'],
  hostif: 'br1',
  words: ['@10'],
  hostEnd: 'veth1pl3f2a9c1d',
  mtu: 1500,
  state: 'up',
}
const blue: AttachmentReport = {
  ...web,
  guest: { kind: 'netns', name: 'blue' },
  addresses: null,
  hostEnd: null,
  state: 'down',
}
const all = [web, blue]

describe('ls', () => {
  test.each<[number | undefined, string]>([
    [
      undefined,
      `
GUEST       INTERFACE  ADDRESS                                          ON   HOST END         STATE
web         eth1       192.168.1.10/24@192.168.1.1,fd00::10/64@fd00::1  br1  veth1pl3f2a9c1d  up
netns:blue  eth1       ?                                                br1  -                down
`,
    ],
    [
      80,
      `
GUEST       INTERFACE  ADDRESS                      ON   HOST END         STATE
web         eth1       192.168.1.10/24@192.168.1.1  br1  veth1pl3f2a9c1d  up
                       fd00::10/64@fd00::1
netns:blue  eth1       ?                            br1  -                down
`,
    ],
    [
      65,
      `
GUEST       INTERFACE  ADDRESS                      ON   STATE
web         eth1       192.168.1.10/24@192.168.1.1  br1  up
                       fd00::10/64@fd00::1
netns:blue  eth1       ?                            br1  down
`,
    ],
    [
      40,
      `
web eth1
  on br1, up
  192.168.1.10/24@192.168.1.1
  fd00::10/64@fd00::1
netns:blue eth1
  on br1, down
  ?
`,
    ],
  ])('in %s columns', (columns, expected) => expect(formatAttachmentTable(all, columns)).toBe(expected.slice(1)))
})

test('ls shows leases, and what is missing on this host', () => {
  const lease = { family: 4, client: 'udhcpc', address: '10.0.0.9/24', router: null, dns: [] } as const
  const kept = { ...lease, server: '10.0.0.1', expires: '2026-11-21T15:00:00.000Z', state: 'kept' } as const
  const table = formatAttachmentTable(
    [
      { ...web, addresses: ['10.0.0.9/24'], leases: [kept] },
      { ...blue, missing: ['a rule'], firewall: { message: 'it drops IPv4', command: 'nft it' } },
    ],
    undefined,
  )
  expect(table).toBe(
    `
GUEST       INTERFACE  ADDRESS      ON   HOST END         STATE  LEASE
web         eth1       10.0.0.9/24  br1  veth1pl3f2a9c1d  up     kept from 10.0.0.1 until 2026-11-21 15:00:00 UTC
netns:blue  eth1       ?            br1  -                down
blue eth1: missing on this host: a rule; run the same command again
blue eth1: it drops IPv4; fix: nft it
`.slice(1),
  )
})

describe('--format', () => {
  const format = (template: string) =>
    parseTemplate(template, Object.keys(LIST_FIELDS)).format(
      all.map((whole) => ({ fields: toTemplateFields(whole), whole })),
    )

  test.each<[string, string]>([
    ['{{.Guest}}', 'web\nnetns:blue\n'],
    ['{{ .Name }}', 'web\nblue\n'],
    ['{{.Guest}}\\t{{.Interface}}', 'web\teth1\nnetns:blue\teth1\n'],
    ['{{.Kind}} {{.ID}}|{{.MTU}} {{.Words}}', 'docker 3f2a9c1d0b7e|1500 @10\nnetns |1500 @10\n'],
    ['{{json .Guest}}', '"web"\n"netns:blue"\n'],
    ['x', 'x\nx\n'],
    ['table {{.Guest}}\\t{{.State}}', 'GUEST       STATE\nweb         up\nnetns:blue  down\n'],
  ])('%s', (template, expected) => expect(format(template)).toBe(expected))

  test('{{json .}} is the whole', () => expect(JSON.parse(format('{{json .}}').split('\n')[0] ?? '')).toEqual(web))

  test.each([
    ['{{.Gest}}', /no field '\.Gest'.*/, 'Did you mean .Guest?'],
    ['{{.Zzzzzz}}', /no field/, 'The fields are .Guest,'],
    ['{{range .}}', /'\{\{range \.\}\}'/, '{{.Guest}}'],
    ['{{.}}', /is not a field/, '{{json .}}'],
    ['{{.Guest', /unbalanced/, '{{.Guest}}'],
  ])('%s is refused', (template, message, hint) => {
    const refusal = captureError(() => format(template))
    expect([refusal.message, refusal.hint, refusal.exitCode]).toEqual([
      expect.stringMatching(message),
      expect.stringContaining(hint),
      2,
    ])
  })
})

describe('a diagram', () => {
  const hubs: readonly DiagramNode[] = [
    {
      name: 'br<1>&"',
      kind: 'bridge',
      notes: ['up', 'MTU 1500'],
      ports: [
        { name: 'eth0', kind: 'uplink', notes: [] },
        { name: 'v\\x', kind: 'other', notes: ['down'] },
        {
          name: 'veth1pl3f',
          kind: 'attachment',
          guest: { name: 'web', ifname: 'eth1', addresses: ['10.0.0.2/24'] },
          notes: ['VLAN 10'],
        },
      ],
    },
    {
      name: 'eth9',
      kind: 'NIC',
      notes: [],
      ports: [
        { name: 'macvlan', kind: 'attachment', guest: { name: 'web', ifname: 'eth2', addresses: [] }, notes: [] },
      ],
    },
  ]
  const screen = { columns: undefined, isUnicode: true, bold: (text: string) => text }

  test('as a tree', () => {
    expect(formatDiagramTree(hubs, screen)).toBe(
      `
br<1>&"  bridge, up, MTU 1500
├─ eth0       uplink
├─ v\\x        a port that is not pipework's, down
└─ veth1pl3f  web eth1  10.0.0.2/24  VLAN 10

eth9  NIC
└─ macvlan  web eth2
`.slice(1),
    )
    expect(formatDiagramTree(hubs, { ...screen, isUnicode: false })).toMatch(/^[\n\x20-\x7e]*$/)
    expect(formatDiagramTree([], screen)).toBe('nothing is attached to any bridge or NIC\n')
  })

  test('as DOT, in which nothing ends its string too soon', () => {
    const dot = formatDot(hubs)
    expect(dot).toContain('"hub br<1>&\\"" [label="br<1>&\\"\\nbridge, up, MTU 1500"];')
    expect(dot).toContain('"port v\\\\x" -- "hub br<1>&\\""')
    // one box for a guest with two interfaces
    expect(dot.match(/^ {2}"guest web" \[/gm)).toHaveLength(1)
  })

  test('as SVG, in which nothing becomes markup', () => {
    const svg = formatSvg(hubs)
    expect(svg).toContain('>br&lt;1&gt;&amp;&quot;</text>')
    expect(svg.match(/<rect /g)).toHaveLength(6)
    expect(svg.match(/<path /g)).toHaveLength(4)
    expect(formatSvg([])).toContain('<svg ')
  })
})
