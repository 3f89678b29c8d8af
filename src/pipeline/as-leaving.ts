import type { Job } from "../queue/queue.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { sealed } from "./arc.ts"
import { signed } from "./dkim.ts"
import { type Gateway, type OpenMessage, recipientOf } from "./gateway.ts"
import { keyFault } from "./key-fault.ts"
import type { Result } from "./ports.ts"
import type { Prepared } from "./prepared.ts"

/**
 * Signed, where it is of our people or of ourselves. What came from elsewhere is never signed by us, whoever it names as its author: that it came by us, and
 * what we found out about it, is sealed (ARC).
 * @returns what is said instead, where it would have to be signed and cannot be
 */
export async function asLeaving(
  outgoing: Prepared,
  { entry }: OpenMessage,
  job: Job,
  { signatories, log }: Pick<Gateway, "signatories" | "log">,
): Promise<Prepared | Result> {
  try {
    if (isOurs(entry)) return await signed(outgoing, entry.receivedAt, signatories)
    const by = entry.origin.alias ?? recipientOf({ envelope: entry.envelope }, job).address
    const made = await sealed(outgoing, entry, by.domain, signatories)
    if (made.kind === "sealed") return made.message
    log.info("mail.not-sealed", { id: job.spoolId, recipient: job.recipient, because: made.because })
    return outgoing
  } catch (error) {
    return keyFault("mail.not-signed", error, job, log)
  }
}

function isOurs({ origin }: SpoolEntry): boolean {
  return origin.kind === "submission" || origin.isOurs === true
}
