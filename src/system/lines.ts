/** A longer line is cut: one that never ends would fill the memory. */
export const MAX_LINE_LENGTH = 1 << 20

/** Cuts text into lines as it comes, without the empty ones. */
export async function* splitLines(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = ''
  for await (const text of chunks) {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, MAX_LINE_LENGTH)
    for (const line of lines) if (line !== '') yield line
  }
}
