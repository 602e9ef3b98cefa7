/** How many programs pipework runs in parallel to read guests. */
export const MAX_CONCURRENT_READS = 8

/** The same for programs that mostly wait for the network. */
export const MAX_CONCURRENT_PROBES = 32

/** Runs the action for each item, at most `limit` at a time; the results in the order of the items. */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  limit: number,
  action: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = []
  const rest = [...items.entries()]
  const work = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) results[next[0]] = await action(next[1])
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
  return results
}
