import { formatAddress, parseAddress } from "../message/address.ts"
import { MAX_REPORT_OCTETS, type ReportedFate, readDeliveryReport } from "../mime/delivery-report.ts"
import type { Job } from "../queue/queue.ts"
import type { CameBack } from "../store/return-paths.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"
import type { Result } from "./ports.ts"
import { stored } from "./settle.ts"
import { type Telling, tellSender } from "./tell-sender.ts"

type Reporting = Telling & Pick<Gateway, "log">

/**
 * What came back, with the null reverse-path, of what an alias had sent on. It names where that leads, so nothing of it goes any further: where it says that
 * the message failed, its sender gets a report of ours about the alias, with the status code; all else ends here.
 */
export async function takeBack(message: OpenMessage, job: Job, back: CameBack, gateway: Reporting): Promise<Result> {
  const fates = readDeliveryReport(await head(message.content()))
  const failure = fates?.find(({ action }) => action === "failed")
  if (failure === undefined) return ended(job, whyNot(fates), gateway)
  const status = statusOf(failure)
  await report(message, job, back, status, gateway)
  const [sender, alias] = [formatAddress(back.sender), back.alias && formatAddress(back.alias)]
  gateway.log.info("mail.came-back", { id: job.spoolId, recipient: job.recipient, sender, alias, status })
  return stored(job.recipient, `${sender} is told that ${alias ?? `an alias at ${back.domain}`} failed: ${status}`)
}

/**
 * RFC 3464 §2.3.3: `delayed` is no end, and who has asked for word of it (RFC 3461 §4.1) is not known any more; of success he was told when the alias had
 * it. What is no report may be anything, and most of it is answers that somebody is away (RFC 3834): those failed nobody.
 */
function whyNot(fates: readonly ReportedFate[] | null): string {
  if (fates === null) return "it is no report of a delivery (RFC 3464)"
  return `it says ${[...new Set(fates.map(({ action }) => action))].join(", ")}, and not failed`
}

function ended(job: Job, because: string, { log }: Reporting): Result {
  log.warn("mail.not-passed-on", { id: job.spoolId, recipient: job.recipient, because })
  return { ...stored(job.recipient, `not passed on: ${because}`), isDropped: true }
}

/** RFC 3463 §2: 2.x.x is success, which a failure is not; some put 4.x.x where they have given up. */
function statusOf({ status }: ReportedFate): string {
  return status === null || status.startsWith("2.") ? "5.0.0" : status
}

/** Its octets are ours, but for the digits of the status. */
async function report(
  { entry }: OpenMessage,
  job: Job,
  { sender, alias, domain, day }: CameBack,
  status: string,
  gateway: Reporting,
): Promise<void> {
  const recipient = formatAddress(alias ?? parseAddress(`postmaster@${domain}`))
  const on = day === null ? "" : ` on ${day.toISOString().slice(0, 10)} (UTC)`
  const when = `it was forwarded${on}, and returned later`
  const diagnostic = alias === null ? `${when}; it was for an address at ${domain}, which is not known any more` : when
  const told = {
    original: { sender, envelopeId: null, smtpUtf8: false, arrivedAt: null, header: null },
    recipients: [{ status: { recipient, action: "failed", status, diagnostic }, originalRecipient: null }],
  } as const
  await tellSender(`came back to ${job.recipient}`, told, entry, gateway)
}

async function head(content: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let sizeOctets = 0
  for await (const piece of content) {
    pieces.push(piece)
    sizeOctets += piece.length
    if (sizeOctets >= MAX_REPORT_OCTETS) break
  }
  return Buffer.concat(pieces).subarray(0, MAX_REPORT_OCTETS)
}
