import { sha256 } from "../crypto/primitives/hash.ts"
import { formatAddress } from "../message/address.ts"
import { ascii } from "../mime/compose.ts"
import type { Job } from "../queue/queue.ts"
import type { SpoolEntry } from "../store/spool.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"
import type { Result } from "./ports.ts"
import { protectAtRest } from "./protect.ts"
import { withResults } from "./results.ts"
import { failed, stored } from "./settle.ts"

/** Protects a message for each account it is for, and stores it there. */
export async function store(
  message: OpenMessage,
  job: Job,
  accounts: readonly string[],
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  let last: Result = failed(job.recipient, "5.1.1", "the address leads to nobody")
  for (const account of accounts) {
    last = await storeFor(account, message, job, gateway, signal)
    if (last.kind !== "done") return last
  }
  return last
}

async function storeFor(
  account: string,
  message: OpenMessage,
  job: Job,
  gateway: Gateway,
  signal: AbortSignal,
): Promise<Result> {
  const { entry } = message
  const rest = gateway.directory.atRest(account)
  if (rest === null) return failed(job.recipient, "5.1.1", "no such mailbox here any more")
  const protectedMessage = await protectAtRest(
    await withResults(
      { sizeOctets: entry.sizeOctets, content: () => message.content() },
      entry.authentication?.field ?? null,
      gateway.hostname,
    ),
    trace(entry),
    entry.seed,
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

/** The same for every attempt at this account, whatever alias led to it: a repeat replaces. */
function storedName(spoolId: string, account: string): string {
  return `${spoolId}-${Buffer.from(sha256(ascii(encodeURIComponent(account))))
    .toString("hex")
    .slice(0, 12)}`
}

/** RFC 5321 §4.4: the final delivery puts the reverse-path on top, then the trace. */
function trace(entry: SpoolEntry): Uint8Array[] {
  const sender = entry.envelope.sender
  return [Buffer.from(`Return-Path: <${sender ? formatAddress(sender) : ""}>\r\n${entry.received}`)]
}
