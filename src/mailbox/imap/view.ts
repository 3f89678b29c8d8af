import { resolveSequenceSet, type SequenceRange } from "../../imap-proxy/wire/sequence-set.ts"
import type { Folder } from "../folder.ts"
import type { Message } from "../message.ts"
import type { Output } from "./output.ts"

/** A selected message with its sequence number. */
export interface Numbered {
  readonly sequence: number
  readonly message: Message
}

/**
 * A selected mailbox as this client knows it: sequence numbers stay until an EXPUNGE response was sent (RFC 3501 §7.4.1),
 * whatever happens to the folder.
 */
export class View {
  readonly folder: Folder
  readonly name: string
  readonly readOnly: boolean
  readonly #messages: Message[]
  /** Flag letters as the client was told them. */
  readonly #told: string[]
  #version: number
  #keywords = ""

  constructor(folder: Folder, name: string, readOnly: boolean) {
    this.folder = folder
    this.name = name
    this.readOnly = readOnly
    this.#messages = [...folder.messages]
    this.#told = this.#messages.map(({ letters }) => letters)
    this.#version = folder.version
    this.#keywords = folder.keywords.names.join(" ")
  }

  /** Number of messages the client knows of. */
  get exists(): number {
    return this.#messages.length
  }

  get recent(): number {
    const first = this.folder.firstRecentUid
    return this.#messages.length - this.#messages.findLastIndex(({ uid }) => uid < first) - 1
  }

  /** Sequence number of the first message without \Seen; 0: there is none. */
  get firstUnseen(): number {
    return this.#messages.findIndex(({ letters }) => !letters.includes("S")) + 1
  }

  get all(): Numbered[] {
    return this.#messages.map((message, index) => ({ sequence: index + 1, message }))
  }

  /** The messages a sequence set or UID set names, in ascending order, each once; numbers of no message are passed over. */
  resolve(set: readonly SequenceRange[], byUid: boolean): Numbered[] {
    const largest = byUid ? (this.#messages.at(-1)?.uid ?? 0) : this.#messages.length
    const ranges = [...resolveSequenceSet(set, largest)].sort((a, b) => a[0] - b[0])
    const found: Numbered[] = []
    let next = 0
    for (const [low, high] of ranges) {
      next = Math.max(next, byUid ? this.#firstWithUid(low) : low - 1)
      const end = byUid ? this.#firstWithUid(high + 1) : Math.min(high, this.#messages.length)
      for (; next < end; next += 1) {
        const message = this.#messages[next]
        if (message) found.push({ sequence: next + 1, message })
      }
    }
    return found
  }

  /** True when a sequence number in `set` is of no message (an error in commands without UID). */
  exceeds(set: readonly SequenceRange[]): boolean {
    const largest = this.#messages.length
    return resolveSequenceSet(set, largest).some(([, high]) => high > largest || largest === 0)
  }

  flags(message: Message): string {
    const flags = this.folder.keywords.flagsOf(message.letters)
    if (message.uid < this.folder.firstRecentUid) return flags
    return flags === "" ? "\\Recent" : `${flags} \\Recent`
  }

  /** The client has been told the flags of this message, or needs not be (.SILENT). */
  told({ sequence, message }: Numbered): void {
    this.#told[sequence - 1] = message.letters
  }

  /** FLAGS and PERMANENTFLAGS responses (RFC 3501 §7.2.6, §7.1). */
  reportFlags(output: Output): void {
    const keywords = this.folder.keywords.names
    this.#keywords = keywords.join(" ")
    const names = [...SYSTEM, ...keywords].join(" ")
    output.line(`* FLAGS (${names})`)
    output.line(`* OK [PERMANENTFLAGS (${this.readOnly ? "" : `${names} \\*`})] Flags kept`)
  }

  /**
   * Tells what has changed since the last time. EXPUNGE may be told only when no FETCH, STORE or SEARCH by sequence number is
   * under way (RFC 3501 §7.4.1).
   */
  report(output: Output, expunges: boolean): void {
    if (this.#version === this.folder.version) return
    let changed = false
    if (this.#keywords !== this.folder.keywords.names.join(" ")) this.reportFlags(output)
    if (expunges) changed = this.#reportExpunged(output)
    this.#reportNew(output, changed)
    for (const [index, message] of this.#messages.entries()) {
      if (message.gone || this.#told[index] === message.letters) continue
      this.#told[index] = message.letters
      output.line(`* ${index + 1} FETCH (UID ${message.uid} FLAGS (${this.flags(message)}))`)
    }
    const waiting = !expunges && this.#messages.some(({ gone }) => gone)
    this.#version = waiting ? -1 : this.folder.version
  }

  #reportExpunged(output: Output): boolean {
    let kept = 0
    for (const [index, message] of this.#messages.entries()) {
      if (message.gone) {
        output.line(`* ${kept + 1} EXPUNGE`)
        continue
      }
      this.#messages[kept] = message
      this.#told[kept] = this.#told[index] ?? ""
      kept += 1
    }
    const changed = kept < this.#messages.length
    this.#messages.length = kept
    this.#told.length = kept
    return changed
  }

  #reportNew(output: Output, changed: boolean): void {
    const last = this.#messages.at(-1)?.uid ?? 0
    const { messages } = this.folder
    let first = messages.length
    while (first > 0 && (messages[first - 1]?.uid ?? 0) > Math.max(last, this.#highest)) first -= 1
    const fresh = messages.slice(first)
    for (const message of fresh) {
      this.#messages.push(message)
      this.#told.push(message.letters)
    }
    if (fresh.length === 0 && !changed) return
    this.#highest = Math.max(this.#highest, this.#messages.at(-1)?.uid ?? 0)
    if (fresh.length === 0) return
    output.line(`* ${this.#messages.length} EXISTS`)
    output.line(`* ${this.recent} RECENT`)
  }

  /** A UID below one that the client has seen cannot come into its numbering any more. */
  #highest = 0

  #firstWithUid(uid: number): number {
    let low = 0
    let high = this.#messages.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#messages[middle]?.uid ?? 0) < uid) low = middle + 1
      else high = middle
    }
    return low
  }
}

const SYSTEM = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"]
