import type { OptionTable } from '../ui/command-spec'
import { type Arguments, defineCommand, textOption, validateRoot } from './types'

/** Options of a watch, and of the service that runs one. */
export const WATCH_OPTIONS = {
  labels: { type: 'boolean', describe: 'also apply the labels `pipework` and `pipework.<n>` of containers' },
  allow: {
    ...textOption('glob'),
    array: true,
    describe: 'a bridge or NIC that labels may use, like br0, eth* or br0@10, or an option by name; may be repeated',
  },
  'env-compat': { type: 'boolean', describe: 'read the variables pipework_cmd… of containers as labels, too' },
} as const satisfies OptionTable

/** What labels may ask for. */
export function toLabelRules({ labels, allow, envCompat }: Arguments<typeof WATCH_OPTIONS>) {
  return { labels: labels === true, envCompat: envCompat === true, allowed: allow ?? [] }
}

/** `pipework watch`: keep the attachments of files and labels. */
export const watch = defineCommand({
  command: 'watch [file..]',
  describe: 'keep the attachments of files and labels through restarts and reboots',
  otherNames: ['daemon', 'follow', 'monitor'],
  synopsis: 'watch [file …] [--labels] [--allow glob]… [--env-compat]',
  builder: WATCH_OPTIONS,
  examples: [
    { line: 'pipework watch lan.pipework', does: 'apply the file, whenever its containers start' },
    { line: 'pipework watch', does: 'the same with all files /etc/pipework/*.pipework' },
    { line: "pipework watch --labels --allow 'br*'", does: 'apply labels, for bridges called br… only' },
  ],
  handler: async (argv, context) => {
    validateRoot(context)
    const { system, io, parseLine } = context
    const [{ watchGuests }, { formatError }] = await Promise.all([
      import('../operations/watch'),
      import('../ui/report'),
    ])
    const options = { system, parseLine, formatError, print: io.out, format: argv.json ? 'json' : 'text' } as const
    await watchGuests({ files: argv.words, rules: toLabelRules(argv) }, options)
    return { text: '', json: { ok: true, ended: true } }
  },
})
