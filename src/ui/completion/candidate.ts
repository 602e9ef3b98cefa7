/** A word that completion offers, with a description for shells that show one. */
export interface CompletionItem {
  readonly value: string
  readonly text: string
}
