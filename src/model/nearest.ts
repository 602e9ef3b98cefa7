import leven from 'leven'

/** The candidates a mistyped word may have meant, nearest first, three at most. */
export function listClosest(word: string, candidates: readonly string[]): readonly string[] {
  const limit = Math.max(2, Math.floor(word.length / 3))
  return candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .filter(({ candidate, distance }) => distance <= limit && distance < candidate.length)
    .sort((a, b) => a.distance - b.distance || a.candidate.localeCompare(b.candidate))
    .slice(0, 3)
    .map(({ candidate }) => candidate)
}

/** A word that only goes on differently (`web` for `web-1`) is as near as one typing error. */
function editDistance(word: string, candidate: string): number {
  return candidate.startsWith(word) || word.startsWith(candidate) ? 1 : leven(word, candidate)
}
