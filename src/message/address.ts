import { GatewayError, hasCode } from "../errors.ts"

declare const parsed: unique symbol

/** A mailbox as RFC 5321 §4.1.2 writes it. Only {@link parseAddress} makes one. */
export interface Address {
  readonly [parsed]: true
  /** As received, unquoted. Compared without case in our own domains. */
  readonly localPart: string
  /** A-labels, lower case; or an address literal with its brackets. */
  readonly domain: string
}

/** RFC 5321 §4.5.3.1.1, in octets of UTF-8. */
const MAX_LOCAL_PART_OCTETS = 64
/** RFC 5321 §4.5.3.1.3 less the angle brackets. */
const MAX_ADDRESS_OCTETS = 254

// RFC 5322 §3.2.3 atext, and RFC 6532 §3.2 non-ASCII.
const DOT_ATOM =
  /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+)*$/u
// RFC 5321 §4.1.2 Quoted-string: printable, with backslash escapes.
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\u{10ffff}]|\\[\x20-\x7e])*)"$/u
/** RFC 5892 §2.3: in no domain; UTS #46 leaves them out, which makes another text the same domain. Joiners have a meaning, and stay (Appendix A). */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}--[\u200c\u200d]]/v
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const LITERAL = /^\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9A-Fa-f:.]+)\]$/i

/**
 * Reads `local@domain` (no angle brackets, no source route, no comment).
 * @throws GatewayError ADDRESS_SYNTAX
 */
export function parseAddress(text: string): Address {
  const at = text.lastIndexOf("@")
  if (at <= 0) throw syntax("no @ with something before it")
  const written = text.slice(0, at)
  const quoted = QUOTED.exec(written)
  if (!quoted && !DOT_ATOM.test(written)) throw syntax("local part is neither dot-atom nor quoted string")
  const localPart = quoted ? (quoted[1] ?? "").replace(/\\(.)/g, "$1") : written
  if (octets(localPart) > MAX_LOCAL_PART_OCTETS) throw syntax(`local part over ${MAX_LOCAL_PART_OCTETS} octets`)
  const domain = parseDomain(text.slice(at + 1))
  if (octets(localPart) + 1 + domain.length > MAX_ADDRESS_OCTETS)
    throw syntax(`address over ${MAX_ADDRESS_OCTETS} octets`)
  return { localPart, domain } as Address
}

/**
 * Reads a domain and returns it in lower-case A-labels (RFC 5890), or an address literal as it stands.
 * @throws GatewayError ADDRESS_SYNTAX
 */
export function parseDomain(text: string): string {
  if (LITERAL.test(text)) return text
  // The URL parser does UTS #46, but it also accepts ports, escapes and IPv4 shorthands: admit only what can be a domain.
  if (text === "" || /[^A-Za-z0-9.\u0080-\u{10ffff}-]/u.test(text))
    throw syntax("domain has a character that no domain has")
  if (INVISIBLE.test(text)) throw syntax("domain has a character that nobody sees")
  const ascii = /[^\x00-\x7f]/.test(text) ? toAscii(text) : text.toLowerCase()
  if (ascii.length > 253 || !ascii.split(".").every((label) => LABEL.test(label)))
    throw syntax("domain label malformed")
  return ascii
}

/** `local@domain` as it goes on the wire, quoted where RFC 5321 §4.1.2 asks for it. */
export function formatAddress(address: Address): string {
  const local = DOT_ATOM.test(address.localPart)
    ? address.localPart
    : `"${address.localPart.replace(/["\\]/g, "\\$&")}"`
  return `${local}@${address.domain}`
}

/** The form under which our own people's addresses are stored and compared: local part without case. */
export function addressKey(address: Address): string {
  return formatAddress({ ...address, localPart: address.localPart.toLowerCase() })
}

/** {@link addressKey} of what somebody has written. @returns null when it is no address */
export function writtenKey(text: string): string | null {
  try {
    return addressKey(parseAddress(text))
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return null
    throw error
  }
}

/** Whether it takes SMTPUTF8 (RFC 6531 §3.2): domains are A-labels. */
export function isNonAscii({ localPart }: Address): boolean {
  return /[^\x00-\x7f]/.test(localPart)
}

/** The address without its `+tag`, or null when it has none. */
export function withoutTag(address: Address): Address | null {
  const plus = address.localPart.indexOf("+")
  return plus > 0 ? { ...address, localPart: address.localPart.slice(0, plus) } : null
}

function toAscii(domain: string): string {
  try {
    return new URL(`http://${domain}/`).hostname
  } catch (cause) {
    throw syntax("domain is no IDN", cause)
  }
}

function octets(text: string): number {
  return new TextEncoder().encode(text).length
}

function syntax(what: string, cause?: unknown): GatewayError {
  return new GatewayError("ADDRESS_SYNTAX", `address: ${what}`, { cause })
}
