import type { Address } from "./address.ts"

/** One forward-path with its DSN parameters (RFC 3461). */
export interface Recipient {
  readonly address: Address
  /** NOTIFY as given; null: not given, so failures are reported (RFC 3461 §4.1). */
  readonly notify: readonly ("NEVER" | "SUCCESS" | "FAILURE" | "DELAY")[] | null
  /** ORCPT as given (`rfc822;…`), decoded; null: not given. */
  readonly originalRecipient: string | null
}

/** SMTP envelope (RFC 5321 §2.3.1). Never derived from header fields. */
export interface Envelope {
  /** null: the null reverse-path `<>`. */
  readonly sender: Address | null
  readonly recipients: readonly Recipient[]
  /** MAIL had SMTPUTF8 (RFC 6531). */
  readonly smtpUtf8: boolean
  /** MAIL had REQUIRETLS (RFC 8689): wherever it goes next, TLS is verified there and promised for the rest of the way. Absent: it had not. */
  readonly requireTls?: true
  /** ENVID (RFC 3461 §4.4), decoded; null: not given. */
  readonly envelopeId: string | null
  /** RET (RFC 3461 §4.3); null: not given. */
  readonly returnContent: "FULL" | "HDRS" | null
}
