/** Longer lines are cut: an endless one would fill the memory. */
export const MAX_LINE_LENGTH = 1 << 20

/** Splits text into lines as it arrives, without empty lines. */
export async function* splitLines(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = ''
  for await (const text of chunks) {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, MAX_LINE_LENGTH)
    for (const line of lines) if (line !== '') yield line
  }
}
