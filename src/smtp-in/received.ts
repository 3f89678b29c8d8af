import { type Address, formatAddress } from "../message/address.ts"
import { formatDateTime } from "../message/date.ts"

export interface Hop {
  /** EHLO argument as given. */
  readonly helo: string
  /** Client network address; null: kept private (submission). */
  readonly remote: string | null
  readonly hostname: string
  /** `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPSA`, … as smtp-server counts. */
  readonly transmission: string
  readonly smtpUtf8: boolean
  /** Cipher suite by its IANA name, null without TLS. */
  readonly cipher: string | null
  /** Ours, for the logs. */
  readonly id: string
  readonly recipients: readonly Address[]
  readonly receivedAt: Date
}

/** The trace field of one hop, folded, with its final CRLF (RFC 5321 §4.4). */
export function receivedField(hop: Hop): string {
  const clauses = [
    fromClause(hop),
    `by ${hop.hostname}`,
    `with ${protocol(hop)}${hop.cipher === null ? "" : `\r\n\ttls ${hop.cipher}`}`,
    `id ${hop.id}${forClause(hop)};`,
    formatDateTime(hop.receivedAt),
  ]
  return `Received: ${clauses.filter((clause) => clause !== "").join("\r\n\t")}\r\n`
}

// From-domain = "FROM" FWS Extended-Domain;  TCP-info = address-literal        RFC 5321 §4.4
function fromClause(hop: Hop): string {
  // A person's place in the network is nobody's business: RFC 8314 lets submission leave the client out.
  if (hop.remote === null) return ""
  const literal = addressLiteral(hop.remote)
  if (DOMAIN.test(hop.helo) || LITERAL.test(hop.helo)) return `from ${hop.helo} (${literal})`
  return `from ${literal} (helo=${printable(hop.helo)})`
}

/** A network address as RFC 5321 §4.1.3 writes it: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. */
function addressLiteral(address: string): string {
  return address.includes(":") ? `[IPv6:${address}]` : `[${address}]`
}

// RFC 3848 and RFC 6531 §4.3: UTF8SMTP stands for ESMTP when the message came with SMTPUTF8.
function protocol(hop: Hop): string {
  if (!hop.transmission.startsWith("ESMTP")) return "SMTP"
  return hop.smtpUtf8 ? hop.transmission.replace("ESMTP", "UTF8SMTP") : hop.transmission
}

// RFC 5321 §7.6: naming one of several recipients would betray it to the others.
function forClause(hop: Hop): string {
  const [only] = hop.recipients
  return hop.recipients.length === 1 && only ? `\r\n\tfor <${formatAddress(only)}>` : ""
}

/** A hostile HELO reaches no field boundary and closes no comment. */
function printable(helo: string): string {
  return helo.replace(/[^\x21-\x7e]|[()\\"<>;,]/g, "?").slice(0, 255)
}

const DOMAIN = /^(?=.{1,255}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*$/
const LITERAL = /^\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9a-f:.]{2,45})\]$/i
