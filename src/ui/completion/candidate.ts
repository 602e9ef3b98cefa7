/** A word that completion offers, and what is said of it where the shell has room. */
export interface CompletionItem {
  readonly value: string
  readonly text: string
}
