/** A word that completion offers, and what is said of it where the shell has room. */
export interface Candidate {
  readonly value: string
  readonly text: string
}
