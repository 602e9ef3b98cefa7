import leven from 'leven'

/** Up to three suggestions for a mistyped word, nearest first. */
export function listClosest(word: string, candidates: readonly string[]): readonly string[] {
  const limit = Math.max(2, Math.floor(word.length / 3))
  return candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .filter(({ candidate, distance }) => distance <= limit && distance < candidate.length)
    .sort((a, b) => a.distance - b.distance || a.candidate.localeCompare(b.candidate))
    .slice(0, 3)
    .map(({ candidate }) => candidate)
}

/** A prefix (`web` for `web-1`) counts as one typing error. */
function editDistance(word: string, candidate: string): number {
  return candidate.startsWith(word) || word.startsWith(candidate) ? 1 : leven(word, candidate)
}
