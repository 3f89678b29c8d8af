import { type Address, addressKey } from "../message/address.ts"
import { composeNotice } from "../mime/notice.ts"
import type { Job } from "../queue/queue.ts"
import type { Gateway } from "./gateway.ts"
import { reportName } from "./report-name.ts"

/** What has become of keys that were known: a mistake of their holder's domain, or somebody who wants mail in clear, or to his own key. */
export type KeyAlarm = "lost" | "changed"

/**
 * Tells the administrator that mail is held because of it: in the log each time, and by mail once a day for each domain, since a domain's thousand people lose their keys
 * together. Nothing of the message is told.
 */
export async function alarm(
  what: KeyAlarm,
  because: string,
  job: Job,
  recipient: Address,
  { hostname, postmaster, reports, now, log }: Pick<Gateway, "hostname" | "postmaster" | "reports" | "now" | "log">,
): Promise<void> {
  const { domain } = recipient
  log.warn("key.alarm", { id: job.spoolId, recipient: job.recipient, alarm: what })
  const name = reportName("key-alarm", what, domain, now().toISOString().slice(0, 10))
  const octets = composeNotice({
    from: postmaster,
    to: postmaster,
    subject: SUBJECTS[what],
    text: [`${because}.`, "", ...MEANING[what], "", ...remedies(job, addressKey(recipient)), "", ...ONCE],
    messageId: `<key-alarm-${name}@${hostname}>`,
    date: now(),
  })
  await reports.submit({ name, to: postmaster, octets })
}

function remedies({ spoolId }: Job, address: string): string[] {
  return [
    "The message is held, and its sender knows. What can be done:",
    "",
    `  postern profile lookup ${address}`,
    "      who was asked, and what each said",
    `  postern certificate add ${address} FILE`,
    "      the key that you know to be right",
    `  postern profile forget ${address}`,
    "      what was known is no longer so",
    `  postern queue release ${spoolId}`,
    "      then: tries the message again",
  ]
}

const SUBJECTS: Readonly<Record<KeyAlarm, string>> = {
  lost: "Mail is held: a key that was known is gone",
  changed: "Mail is held: a key is another than before",
}
const MEANING: Readonly<Record<KeyAlarm, readonly string[]>> = {
  lost: [
    "Keys are withdrawn, and servers lose them. But whoever wants to read mail that was encrypted",
    "until now would have to make the key disappear, too: ask its holder by another way than mail.",
  ],
  changed: [
    "Keys are replaced. But whoever wants to read mail to this address would have to put a key of",
    "his own there, too: compare the fingerprint with its holder by another way than mail.",
  ],
}
const ONCE = [
  "Others of the same domain may be concerned: postern queue list shows all that is held. There is",
  "one such mail a day for a domain; the log has each (key.alarm).",
]
