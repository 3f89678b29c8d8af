/** PURE. What one scanner comes to about one message. */

/** `tooLarge`: it was not shown the whole of it; `away`: it gave no answer, or none that can be read. */
export type Outcome = "clean" | "quarantine" | "virus" | "reject" | "defer" | "tooLarge" | "away"

/** `because` is for the log: names and numbers of the scanner, see {@link told}. */
export interface Finding {
  readonly outcome: Outcome
  readonly because: string
}

/** What another program said, fit for one log line: printable ASCII, bounded. */
export function told(text: string): string {
  const shown = text.replace(/[^\x20-\x7e]+/g, " ").trim()
  return shown.length > MAX_TOLD_CHARACTERS ? `${shown.slice(0, MAX_TOLD_CHARACTERS)}...` : shown
}

/** Names of signatures and reasons are shorter. */
const MAX_TOLD_CHARACTERS = 200
