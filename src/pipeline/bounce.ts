import { formatAddress } from "../message/address.ts"
import type { Recipient } from "../message/envelope.ts"
import type { DeliveryStatus } from "../message/status.ts"
import { outerFields } from "../mime/compose.ts"
import { readHeader } from "../mime/header.ts"
import { shouldReport } from "../mime/report.ts"
import type { SpoolEntry } from "../store/spool.ts"
import type { OpenMessage } from "./gateway.ts"
import { type Telling, tellSender } from "./tell-sender.ts"

/** Tells the sender what became of a message (RFC 3464) where RFC 3461 §4.1 and RFC 5321 §6.1 want it: never about a report. */
export async function report(
  message: OpenMessage,
  recipient: Recipient,
  outcome: DeliveryStatus,
  gateway: Telling,
): Promise<void> {
  const { entry } = message
  const { sender } = entry.envelope
  const named = { ...outcome, recipient: formatAddress(recipient.address) }
  if (sender === null || !shouldReport(entry.envelope, named)) return
  const status = asTold(named, entry)
  const { envelopeId, smtpUtf8 } = entry.envelope
  const header = Buffer.concat(outerFields(await headerOf(message), "clear"))
  const told = {
    original: { sender, envelopeId, smtpUtf8, arrivedAt: entry.receivedAt, header },
    recipients: [{ status, originalRecipient: recipient.originalRecipient }],
  }
  // A delay is not the end.
  const kind = status.action === "delayed" ? "delayed" : ""
  await tellSender(`${entry.receivedAt.toISOString()} ${status.recipient} ${kind}`, told, entry, gateway)
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
