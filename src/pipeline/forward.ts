import { sha256 } from "../crypto/primitives/hash.ts"
import { type Address, addressKey, formatAddress, isNonAscii, writtenKey } from "../message/address.ts"
import type { Recipient } from "../message/envelope.ts"
import { ascii } from "../mime/compose.ts"
import { fieldText, parseFields } from "../mime/header.ts"
import type { Forward } from "../store/resolve.ts"
import type { NewEntry, SpoolEntry } from "../store/spool.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"

/** Sends on what came for an alias, to each of these as a message of its own. An attempt that is repeated sends nobody another one. */
export async function forward(
  message: OpenMessage,
  spoolId: string,
  recipient: Recipient,
  forwards: readonly Forward[],
  { forwarding, now }: Pick<Gateway, "forwarding" | "now">,
): Promise<void> {
  for (const { target } of forwards)
    await forwarding.submit(
      forwardId(spoolId, target),
      forwardedEntry(message.entry, recipient, target, now()),
      message.content(),
    )
}

/** What tells a message that it came by this alias. A server that sends back to it what it was sent has a loop. */
export function deliveredTo(alias: Address): Uint8Array {
  return Buffer.from(`Delivered-To: ${formatAddress(alias)}\r\n`)
}

/** Whether {@link deliveredTo} stands in this header section. */
export function cameBy(alias: Address, header: Uint8Array): boolean {
  const known = addressKey(alias)
  return parseFields(header).some((field) => field.name === "delivered-to" && writtenKey(fieldText(field)) === known)
}

/** The same for each attempt, and begins with the time, as all do. */
function forwardId(spoolId: string, target: Address): string {
  const digest = sha256(ascii(`${spoolId} ${encodeURIComponent(addressKey(target))}`))
  return `${spoolId.slice(0, TIME_CHARACTERS)}${Buffer.from(digest).toString("hex").slice(0, DIGEST_DIGITS)}`
}

/** The envelope is still the sender's: in whose name it leaves is decided when it does, and what becomes of it he is told as being the alias. */
function forwardedEntry({ envelope, ...entry }: SpoolEntry, recipient: Recipient, target: Address, at: Date): NewEntry {
  const { origin, received, authentication } = entry
  return {
    envelope: {
      ...envelope,
      recipients: [{ ...recipient, address: target, notify: withoutSuccess(recipient.notify) }],
      smtpUtf8: envelope.smtpUtf8 || isNonAscii(target),
    },
    origin: {
      ...origin,
      kind: "forward",
      alias: origin.alias ?? recipient.address,
      ...(origin.kind === "submission" ? { isOurs: true } : {}),
    },
    received,
    receivedAt: at,
    ...(authentication ? { authentication } : {}),
  }
}

/** Of success he was told when the alias had it (RFC 3461 §5.2.7.4). */
function withoutSuccess(notify: Recipient["notify"]): Recipient["notify"] {
  if (notify === null) return null
  const rest = notify.filter((word) => word !== "SUCCESS")
  return rest.length > 0 ? rest : ["NEVER"]
}

const TIME_CHARACTERS = 9
/** 160 bits. */
const DIGEST_DIGITS = 40
