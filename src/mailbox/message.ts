/** A message of an open folder. Shared by all sessions: what changes here is what the file's name says now. */
export interface Message {
  readonly uid: number
  /** File name without flags: never changes. */
  readonly base: string
  /** Where the file is now. */
  place: "new" | "cur"
  name: string
  /** Maildir flag letters in ASCII order. */
  letters: string
  /** True once the file is gone; sessions tell their client when they may. */
  gone: boolean
  /** RFC822.SIZE when it was measured and the name does not tell it. */
  wireOctets: number | null
  /** Milliseconds; null until asked for. */
  internalDateMs: number | null
}

/** A name met in new/ or cur/. */
export interface FoundFile {
  readonly place: "new" | "cur"
  readonly name: string
  readonly letters: string
}
