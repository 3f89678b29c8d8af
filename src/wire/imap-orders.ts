import type { Config } from "../config/config.ts"
import type { ErrorCode } from "../errors.ts"
import type { Refusal } from "../imap-proxy/places.ts"
import type { MetricsSnapshot } from "../log/counters.ts"
import type { SeatReport } from "./asked-seats.ts"
import type { ImapKind } from "./imap-limits.ts"
import type { LoginNews } from "./login-limits.ts"

/** What all IMAP processes have in common and no disk has, in base64. */
export interface SharedSecrets {
  readonly ticketKeys: string
  readonly loginKey: string
}

/** What an IMAP process is told. */
export type Order =
  | { readonly kind: "start"; readonly config: Config; readonly name: string; readonly secrets: SharedSecrets }
  | { readonly kind: "listen"; readonly listeners: readonly ImapKind[] }
  /** There is no place for the connection. */
  | { readonly kind: "evict"; readonly place: number; readonly limit: Refusal }
  /** The answer to a `logIn` that asks. */
  | { readonly kind: "seat"; readonly place: number; readonly refusal: Refusal | null }
  | { readonly kind: "ticketKeys"; readonly ticketKeys: string }
  | { readonly kind: "login"; readonly news: LoginNews }
  | { readonly kind: "metrics"; readonly question: number }
  /** End connections when they are idle, one after the other within `spreadMs`, all after `graceMs`, then yourself. */
  | { readonly kind: "drain"; readonly graceMs: number; readonly spreadMs: number }

/** What it says. */
export type Report =
  /** It could serve. */
  | { readonly kind: "ready" }
  /** It does. */
  | { readonly kind: "listening" }
  | { readonly kind: "failed"; readonly code: ErrorCode | null; readonly message: string }
  | SeatReport
  | { readonly kind: "login"; readonly news: LoginNews }
  | { readonly kind: "metrics"; readonly question: number; readonly snapshot: MetricsSnapshot }
