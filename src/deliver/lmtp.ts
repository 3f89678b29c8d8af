import { type Address, isNonAscii, parseAddress } from "../message/address.ts"
import { parseFields, readHeader } from "../mime/header.ts"
import type { Mailboxes, Result } from "../pipeline/ports.ts"
import { behind, type Prepared } from "../pipeline/prepared.ts"
import { deferred, stored } from "../pipeline/settle.ts"

/** Hands one message to the LMTP server (RFC 2033); what the server said about it is a value. */
export type SendLmtp = (
  message: Prepared,
  sender: Address | null,
  recipient: Address,
  signal: AbortSignal,
) => Promise<Result>

/** 50 MB at 100 kB/s, into a store that syncs to slow disks. */
const LONGEST_MS = 600_000

/** Delivery by LMTP, with the account's address as recipient. LMTP knows no repeats: what broke after the message may come twice. */
export function lmtpMailboxes(send: SendLmtp): Mailboxes {
  return {
    async deliver(account, message, { sender, signal }) {
      const late = AbortSignal.timeout(LONGEST_MS)
      try {
        const within = AbortSignal.any([signal, late])
        const result = isForeignToLmtp(sender)
          ? await send(message, null, parseAddress(account), within)
          : await send(await withoutReturnPath(message), sender, parseAddress(account), within)
        return result.kind === "done" ? stored(account, result.status.diagnostic) : result
      } catch (error) {
        signal.throwIfAborted()
        if (late.aborted) return deferred(account, "4.4.2", "the mail store took too long")
        throw error
      }
    },
  }
}

/** RFC 5321 §4.4: one Return-Path, made by the final delivery, which here is the store's. */
async function withoutReturnPath(message: Prepared): Promise<Prepared> {
  const octets = message.content()[Symbol.asyncIterator]()
  try {
    const [first] = parseFields((await readHeader(octets)).header)
    return first?.name === "return-path" ? behind(message, first.octets.length) : message
  } finally {
    await octets.return?.()
  }
}

/** Stores without SMTPUTF8 would refuse for good what we have accepted; such a sender stands in our Return-Path only. */
function isForeignToLmtp(sender: Address | null): boolean {
  return sender !== null && isNonAscii(sender)
}
