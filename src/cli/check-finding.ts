/** What one look found. */
export interface Finding {
  readonly state: "ok" | "note" | "wrong"
  /** What was looked at. */
  readonly about: string
  readonly text: string
}

export function ok(about: string, text: string): Finding {
  return { state: "ok", about, text }
}

export function note(about: string, text: string): Finding {
  return { state: "note", about, text }
}

export function wrong(about: string, text: string): Finding {
  return { state: "wrong", about, text }
}
