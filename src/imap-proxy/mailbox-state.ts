/** Message numbers kept; numbers of more messages than this are asked for again. */
const MAX_NUMBERS = 4096

/** What is selected, as far as window records depend on it. */
export class MailboxState {
  readonly #connection: number
  readonly #store: string
  #name: string | null = null
  #uidValidity: string | null = null
  /** Stands in for UIDVALIDITY where a server tells none: UIDs then hold for one selection. */
  #selection = 0
  #key: string | null = null
  readonly #uids = new Map<number, number>()

  /** `connection`: unlike that of any other, where keys are shared; `store`: whose mailboxes these are at the upstream. */
  constructor(connection: number, store: string) {
    this.#connection = connection
    this.#store = store
  }

  /** SELECT or EXAMINE is sent: until it succeeds nothing is selected. @returns what was selected before, or null */
  deselect(): string | null {
    const before = this.#name
    this.#name = null
    this.#uidValidity = null
    this.#key = null
    this.#selection += 1
    this.#uids.clear()
    return before
  }

  select(name: string): void {
    this.#name = name
    this.#key = null
  }

  /** From the UIDVALIDITY response code; a new one makes every UID unknown. */
  validity(uidValidity: string): void {
    if (this.#uidValidity !== uidValidity) this.#uids.clear()
    this.#uidValidity = uidValidity
    this.#key = null
  }

  /** Names the mailbox and the meaning of its UIDs; null while nothing is selected. One string, made once: it is looked up per message. */
  get key(): string | null {
    if (this.#name === null) return null
    this.#key ??= `${this.#name}\n${this.#uidValidity ?? `-${this.#connection}.${this.#selection}`}\n${this.#store}`
    return this.#key
  }

  uidOf(number: number): number | null {
    return this.#uids.get(number) ?? null
  }

  numberOf(uid: number): number | null {
    for (const [number, known] of this.#uids) if (known === uid) return number
    return null
  }

  learn(number: number, uid: number): void {
    if (this.#uids.get(number) === uid) return
    this.#uids.delete(number)
    this.#uids.set(number, uid)
    const oldest = this.#uids.keys().next().value
    if (this.#uids.size > MAX_NUMBERS && oldest !== undefined) this.#uids.delete(oldest)
  }

  /** RFC 9051 §7.5.1: higher numbers move down by one. */
  expunge(number: number): void {
    const moved = [...this.#uids]
      .filter(([at]) => at !== number)
      .map(([at, uid]) => [at > number ? at - 1 : at, uid] as const)
    this.#uids.clear()
    for (const [at, uid] of moved) this.#uids.set(at, uid)
  }

  /** RFC 7162 §3.2.10: VANISHED names UIDs, so numbers shift in a way we do not follow. */
  vanished(): void {
    this.#uids.clear()
  }
}
