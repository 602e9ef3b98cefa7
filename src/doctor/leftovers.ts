import type { Finding } from './finding'
import type { Survey } from './survey'

/** Things of pipework's own that nobody needs any more. */
export function findLeftovers({ seats, pins }: Survey): readonly Finding[] {
  const orphans = seats.filter(({ away, attached }) => away?.isGone && attached.record.nic === undefined)
  const strays = seats.filter(({ attached }) => attached.record.nic !== undefined && attached.hostEnd !== undefined)
  return [
    ...orphans.map(
      ({ attached: { record, hostEnd }, guest, away }): Finding => ({
        id: 'link-orphan',
        severity: 'warning',
        line: `'${hostEnd?.name ?? record.ifname}' was attached to '${guest}', which is gone`,
        evidence: away?.message ?? '',
        command: `pipework disconnect ${guest} ${record.ifname}`,
        about: [record.hostif, guest],
      }),
    ),
    ...strays.map(
      ({ attached: { record, hostEnd }, guest }): Finding => ({
        id: 'nic-stray',
        severity: 'warning',
        line: `the NIC '${record.nic}' fell back into the host as '${hostEnd?.name}', without its addresses`,
        evidence: `it was in '${guest}', which has ended`,
        command: `pipework disconnect ${guest} ${record.ifname}`,
        about: [guest],
      }),
    ),
    ...(pins.length === 0
      ? []
      : [
          {
            id: 'pin-dangling' as const,
            severity: 'note' as const,
            line: `${pins.length === 1 ? 'a name' : `${pins.length} names`} in /run/netns ${pins.length === 1 ? 'is' : 'are'} left from runs that were killed`,
            evidence: pins.join(', '),
            command: `rm ${pins.map((name) => `/run/netns/${name}`).join(' ')}`,
            about: [],
          },
        ]),
  ]
}
