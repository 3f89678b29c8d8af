import { sha256 } from "../crypto/primitives/hash.ts"
import { formatAddress } from "../message/address.ts"
import { ascii } from "../mime/compose.ts"
import type { SpoolEntry } from "../store/spool.ts"

/** The same for every attempt at this account, whatever alias led to it: a repeat replaces. */
export function storedName(spoolId: string, account: string): string {
  return `${spoolId}-${Buffer.from(sha256(ascii(encodeURIComponent(account))))
    .toString("hex")
    .slice(0, 12)}`
}

/** RFC 5321 §4.4: the final delivery puts the reverse-path on top, then the trace. */
export function trace(entry: Pick<SpoolEntry, "envelope" | "received">): Uint8Array[] {
  const sender = entry.envelope.sender
  return [Buffer.from(`Return-Path: <${sender ? formatAddress(sender) : ""}>\r\n${entry.received}`)]
}
