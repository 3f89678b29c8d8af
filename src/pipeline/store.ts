import { hkdfSha256, sha256 } from "../crypto/primitives/hash.ts"
import { formatAddress } from "../message/address.ts"
import { ascii } from "../mime/compose.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { cameBy, forward } from "./forward.ts"
import type { Attempt } from "./gateway.ts"
import { storeOverMesh } from "./mesh/local.ts"
import type { Result, Standing } from "./ports.ts"
import { atHand, type Prepared } from "./prepared.ts"
import { protectAtRest, splitHeader } from "./protect.ts"
import { withResults } from "./results.ts"
import { failed, stored } from "./settle.ts"
import { storedName, trace } from "./stored-mail.ts"

/** Protects a message for each account it is for, and stores it there; before that it is sent on to whom the address leads elsewhere. */
export async function store(
  attempt: Attempt,
  { accounts, forwards }: Extract<Standing, { readonly kind: "accounts" }>,
): Promise<Result> {
  const { message, job, recipient, gateway } = attempt
  const source = await atHand({ sizeOctets: message.entry.sizeOctets, content: () => message.content() })
  let last: Result = failed(job.recipient, "5.1.1", "the address leads to nobody")
  if (forwards.length > 0) {
    if (cameBy(recipient.address, (await splitHeader(source)).header)) return failed(job.recipient, "5.4.6", LOOP)
    await forward(message, job.spoolId, recipient, forwards, gateway)
    last = stored(job.recipient, `forwarded to ${forwards.map(({ target }) => formatAddress(target)).join(", ")}`)
  }
  if (accounts.length === 0) return last
  const onSignature = await gateway.arrivals.examine(job.spoolId, source, message.entry)
  const examined = { entry: message.entry, source, onSignature }
  for (const account of accounts) {
    last = await storeFor(account, examined, attempt)
    if (last.kind !== "done") return last
  }
  await gateway.keyserverMail.stored(job.spoolId, recipient.address, source, message.entry)
  return last
}

/** A message with what was found of its signature. */
interface ExaminedMessage {
  readonly entry: SpoolEntry
  readonly source: Prepared
  /** Authentication-Results; null: none can be seen. */
  readonly onSignature: string | null
}

async function storeFor(
  account: string,
  examined: ExaminedMessage,
  { job, gateway, signal }: Attempt,
): Promise<Result> {
  const { entry, source, onSignature } = examined
  const overMesh = await storeOverMesh(account, examined, job, gateway, signal)
  if (overMesh !== null) return overMesh
  const rest = gateway.directory.atRest(account)
  if (rest === null) return failed(job.recipient, "5.1.1", "no such mailbox here any more")
  const protectedMessage = await protectAtRest(
    await withResults(source, resultsOf(entry, onSignature), gateway.hostname),
    trace(entry),
    seedFor(entry, onSignature),
    rest,
  )
  const result = await gateway.mailboxes.deliver(account, protectedMessage, {
    name: storedName(job.spoolId, account),
    receivedAt: entry.receivedAt,
    repeated: job.attempt > 0,
    sender: entry.envelope.sender,
    ...(entry.authentication?.quarantine ? { quarantine: true as const } : {}),
    signal,
  })
  return result.kind === "done" ? stored(job.recipient, `stored for ${account}, ${protectedMessage.by}`) : result
}

/** Our fields on top of the message; null: there is nothing to say. */
function resultsOf({ authentication }: SpoolEntry, onSignature: string | null): string | null {
  return authentication === undefined ? onSignature : `${onSignature ?? ""}${authentication.field}`
}

/** No two texts are ever encrypted with the same key and IV, even if what was found of the signature is lost and found differently. */
function seedFor({ seed }: SpoolEntry, onSignature: string | null): Uint8Array {
  return onSignature === null ? seed : hkdfSha256(seed, sha256(ascii(onSignature)), "postern arriving", seed.length)
}

const LOOP = "it has come by this address before: a mail loop"
