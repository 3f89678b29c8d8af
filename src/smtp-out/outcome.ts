import { type Address, formatAddress } from "../message/address.ts"
import type { RelayOutcome } from "./hop.ts"

/** Longest text of a peer that is kept, in characters. */
const MAX_DIAGNOSTIC_CHARACTERS = 500

/** The outcome that a server's reply means: 2xx relayed, 4xx retry, 5xx failed. Anything else is retried. */
export function outcomeOfReply(recipient: Address, reply: string, remote: string): RelayOutcome {
  const digit = reply[0]
  const status = statusCode(reply)
  if (digit === "2") return outcome("relayed", recipient, status, reply, remote)
  return outcome(
    digit === "5" ? "failed" : "retry",
    recipient,
    digit === "5" ? status : retryStatus(status),
    reply,
    remote,
  )
}

/** An outcome with what we say about it. */
export function outcome(
  kind: RelayOutcome["kind"],
  recipient: Address,
  status: string,
  diagnostic: string,
  remote?: string,
): RelayOutcome {
  const action = kind === "retry" ? "delayed" : kind
  const said = { recipient: formatAddress(recipient), action, status, diagnostic: oneLine(diagnostic) } as const
  return { kind, status: remote === undefined ? said : { ...said, remote } }
}

/** The enhanced status code (RFC 2034) of a reply, or the general one of its class. */
function statusCode(reply: string): string {
  const match = /^([245])\d\d[ -](\d)(\.\d{1,3}\.\d{1,3})(?![\d.])/.exec(reply)
  // RFC 2034 §4: class and reply code agree; where they don't, the reply code counts.
  if (match) return `${match[1]}${match[3]}`
  return `${/^[245]/.exec(reply)?.[0] ?? "4"}.0.0`
}

function retryStatus(status: string): string {
  return status.startsWith("4") ? status : "4.0.0"
}

function oneLine(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, MAX_DIAGNOSTIC_CHARACTERS)
}
