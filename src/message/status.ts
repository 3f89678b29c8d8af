/** Outcome for one recipient, in the words of RFC 3463 and RFC 3464 §2.3.3. */
export interface DeliveryStatus {
  /** The recipient as `local@domain`. */
  readonly recipient: string
  readonly action: "delivered" | "relayed" | "delayed" | "failed"
  /** Enhanced status code, RFC 3463: `class.subject.detail`. */
  readonly status: string
  /** What the next hop said, or what we found; one line, printable ASCII, no secret. */
  readonly diagnostic: string
  /** The host that said so, when a host did. */
  readonly remote?: string
}
