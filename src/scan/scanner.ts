import type { Address } from "../message/address.ts"
import type { Finding } from "./finding.ts"

/** What a scanner is told of a message beside its octets. */
export interface Facts {
  readonly sender: Address | null
  readonly recipients: readonly Address[]
  /** The client's network address. */
  readonly remote: string
  /** What it called itself. */
  readonly helo: string
  /** Who submits it; null: another server. */
  readonly account: string | null
  /** What the log calls the message while it is received. */
  readonly id: string
}

/** One message on its way to one scanner. Whatever keeps the scanner from answering is thrown. */
export interface Talk {
  /** Resolves when there is room for more. @returns an answer that came before the end; null: none so far */
  push(octets: Uint8Array): Promise<Finding | null>
  /** The message is complete. @returns what the scanner says of it */
  end(): Promise<Finding>
  /** Lets go of the connection; what is waited for throws. */
  cancel(): void
}

/** A program that looks at messages. */
export interface Program {
  /** As it stands in the log and in the metrics. */
  readonly name: "clamd" | "rspamd" | "hook"
  /** Begins a conversation about one message. */
  talk(facts: Facts): Talk
}
