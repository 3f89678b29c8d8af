import { sha256 } from "../crypto/primitives/hash.ts"
import { ascii } from "../mime/compose.ts"
import { composeReport } from "../mime/report.ts"
import type { SpoolEntry } from "../store/spool.ts"
import type { Gateway } from "./gateway.ts"

/** What a report of ours takes. */
export type Telling = Pick<Gateway, "reports" | "postmaster" | "hostname" | "now">

/** What a report is to say. */
type Told = Pick<Parameters<typeof composeReport>[0], "original" | "recipients">

/**
 * Sends whoever wrote a message a report of ours (RFC 3464).
 * @param about what it reports of the message of `entry`: it is named after both, so that an attempt repeated after a crash reports once
 */
export async function tellSender(
  about: string,
  told: Told,
  { envelope, seed }: SpoolEntry,
  { reports, postmaster, hostname, now }: Telling,
): Promise<void> {
  const digest = sha256(Buffer.concat([sha256(ascii(encodeURIComponent(about))), seed]))
  const name = Buffer.from(digest).toString("hex").slice(0, NAME_DIGITS)
  const octets = composeReport({
    ...told,
    postmaster,
    reportingHost: hostname,
    boundary: `report-${name}`,
    messageId: `<report-${name}@${hostname}>`,
    date: now(),
  })
  // RFC 8689 §5
  const tls = envelope.requireTls ? { requireTls: true as const } : {}
  await reports.submit({ name, to: told.original.sender, octets, ...tls })
}

/** 96 bits. */
const NAME_DIGITS = 24
