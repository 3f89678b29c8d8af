import { sha256 } from "../crypto/primitives/hash.ts"
import { formatAddress } from "../message/address.ts"
import type { Recipient } from "../message/envelope.ts"
import type { DeliveryStatus } from "../message/status.ts"
import { ascii, outerFields } from "../mime/compose.ts"
import { readHeader } from "../mime/header.ts"
import { composeReport, shouldReport } from "../mime/report.ts"
import type { SpoolEntry } from "../store/spool.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"

/** Tells the sender what became of a message (RFC 3464) where RFC 3461 §4.1 and RFC 5321 §6.1 want it: never about a report. */
export async function report(
  message: OpenMessage,
  recipient: Recipient,
  outcome: DeliveryStatus,
  gateway: Gateway,
): Promise<void> {
  const { entry } = message
  const { sender } = entry.envelope
  const named = { ...outcome, recipient: formatAddress(recipient.address) }
  if (sender === null || !shouldReport(entry.envelope, named)) return
  const status = asTold(named, entry)
  // Named after what it reports, so that an attempt repeated after a crash reports once. A delay is not the end.
  const kind = status.action === "delayed" ? "delayed" : ""
  const what = `${entry.receivedAt.toISOString()} ${status.recipient} ${kind}`
  const name = Buffer.from(sha256(ascii(encodeURIComponent(what))))
  const unique = Buffer.from(sha256(Buffer.concat([name, entry.seed])))
    .toString("hex")
    .slice(0, 24)
  const octets = composeReport({
    postmaster: gateway.postmaster,
    reportingHost: gateway.hostname,
    original: {
      sender,
      envelopeId: entry.envelope.envelopeId,
      smtpUtf8: entry.envelope.smtpUtf8,
      arrivedAt: entry.receivedAt,
      header: Buffer.concat(outerFields(await headerOf(message), "clear")),
    },
    recipients: [{ status, originalRecipient: recipient.originalRecipient }],
    boundary: `report-${unique}`,
    messageId: `<report-${unique}@${gateway.hostname}>`,
    date: gateway.now(),
  })
  const { requireTls } = entry.envelope
  await gateway.reports.submit({ name: unique, to: sender, octets, ...(requireTls ? { requireTls } : {}) })
}

/** Where an alias leads is nobody's business: of what it has sent on, its sender hears as of the alias, and not what others have said. */
function asTold(status: DeliveryStatus, { origin }: SpoolEntry): DeliveryStatus {
  if (origin.alias === undefined) return status
  const { action } = status
  const diagnostic = action === "failed" ? "it could not be forwarded" : "it has not been forwarded yet"
  return { recipient: formatAddress(origin.alias), action, status: status.status, diagnostic }
}

async function headerOf(message: OpenMessage): Promise<Uint8Array> {
  const octets = message.content()[Symbol.asyncIterator]()
  try {
    return (await readHeader(octets)).header
  } finally {
    await octets.return?.()
  }
}
