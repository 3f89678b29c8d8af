/** PURE. LDAP messages (RFC 4511) as octets. What is read is of definite lengths that fit, and holds what the standard says in that order. */
import { integer, octetString, readElement, readWhole, sequence, TAG, tagged } from "../crypto/cms/der.ts"
import { GatewayError } from "../errors.ts"

/** Identifier octets of protocolOp (RFC 4511 §4.2 to §4.14). */
export const OPERATION = {
  bindRequest: 0x60,
  bindResponse: 0x61,
  unbindRequest: 0x42,
  searchRequest: 0x63,
  searchEntry: 0x64,
  searchDone: 0x65,
  searchReference: 0x73,
  abandonRequest: 0x50,
  extendedRequest: 0x77,
  extendedResponse: 0x78,
} as const

/** RFC 4511 §4.1.9, Appendix A: those that are named here. */
export const RESULT = {
  success: 0,
  operationsError: 1,
  protocolError: 2,
  timeLimitExceeded: 3,
  sizeLimitExceeded: 4,
  authMethodNotSupported: 7,
  strongerAuthRequired: 8,
  referral: 10,
  adminLimitExceeded: 11,
  unavailableCriticalExtension: 12,
  confidentialityRequired: 13,
  noSuchObject: 32,
  inappropriateAuthentication: 48,
  invalidCredentials: 49,
  insufficientAccessRights: 50,
  busy: 51,
  unavailable: 52,
  unwillingToPerform: 53,
} as const

/** RFC 4511 §4.14. */
export const START_TLS = "1.3.6.1.4.1.1466.20037"
export const ENUMERATED = 0x0a

/** An element without its header. */
export interface Piece {
  /** The identifier octet. */
  readonly tag: number
  /** A view, no copy. */
  readonly content: Uint8Array
}

export interface LdapMessage {
  readonly id: number
  readonly operation: Piece
}

/**
 * Reads one message that is there as a whole. Controls (RFC 4511 §4.1.11) are told of only when they are critical.
 * @throws GatewayError DER_SYNTAX, PROTOCOL
 */
export function readMessage(octets: Uint8Array): LdapMessage & { readonly hasCriticalControl: boolean } {
  const [envelope, ...behind] = piecesOf(octets)
  if (envelope?.tag !== TAG.sequence || behind.length > 0) throw malformed("no message")
  const [id, operation, controls, ...more] = piecesOf(envelope.content)
  if (id === undefined || operation === undefined || more.length > 0) throw malformed("no id and operation")
  if (controls !== undefined && controls.tag !== CONTROLS) throw malformed("something behind the operation")
  return { id: readInteger(id), operation, hasCriticalControl: controls !== undefined && hasCritical(controls) }
}

export function writeMessage(id: number, operation: Uint8Array): Uint8Array {
  return sequence(integer(id), operation)
}

/**
 * The elements that fill `octets`.
 * @throws GatewayError DER_SYNTAX when they do not fill it exactly, PROTOCOL when there are over {@link MAX_PIECES}
 */
export function piecesOf(octets: Uint8Array): Piece[] {
  const pieces: Piece[] = []
  for (let at = 0; at < octets.length; ) {
    if (pieces.length === MAX_PIECES) throw malformed(`over ${MAX_PIECES} elements`)
    const { tag, contentStart, end } = readWhole(octets, at, octets.length)
    pieces.push({ tag, content: octets.subarray(contentStart, end) })
    at = end
  }
  return pieces
}

/** INTEGER (0..2^31-1) or ENUMERATED. Throws GatewayError PROTOCOL. */
export function readInteger({ tag, content }: Piece): number {
  if (
    (tag !== TAG.integer && tag !== ENUMERATED) ||
    content.length === 0 ||
    content.length > 4 ||
    (content[0] ?? 0) > 127
  )
    throw malformed("no number from 0 to 2^31-1")
  return content.reduce((value, octet) => value * 256 + octet, 0)
}

/** The octets of an OCTET STRING. Throws GatewayError PROTOCOL. */
export function readOctets(piece: Piece | undefined): Uint8Array {
  if (piece?.tag !== TAG.octetString) throw malformed("no OCTET STRING")
  return piece.content
}

/** LDAPString, LDAPDN (RFC 4511 §4.1.2): UTF-8. Throws GatewayError PROTOCOL. */
export function readText(piece: Piece | undefined): string {
  return Buffer.from(readOctets(piece)).toString("utf8")
}

export function ldapString(text: string): Uint8Array {
  return octetString(new TextEncoder().encode(text))
}

export function enumerated(value: number): Uint8Array {
  return tagged(ENUMERATED, Uint8Array.of(value))
}

/** LDAPResult (RFC 4511 §4.1.9). */
export interface LdapResult {
  readonly code: number
  /** The server's own words. */
  readonly diagnostic: string
}

/** Throws GatewayError DER_SYNTAX, PROTOCOL. */
export function readResult({ content }: Piece): LdapResult {
  const [code, matched, diagnostic] = piecesOf(content)
  if (code?.tag !== ENUMERATED) throw malformed("no result code")
  readOctets(matched)
  return { code: readInteger(code), diagnostic: readText(diagnostic) }
}

/** An operation that answers with a result and no more. */
export function resultOperation(
  operation: number,
  { code, diagnostic }: LdapResult,
  ...more: readonly Uint8Array[]
): Uint8Array {
  return tagged(operation, enumerated(code), ldapString(""), ldapString(diagnostic), ...more)
}

/** As the standard calls it. */
export function resultName(code: number): string {
  const name = Object.entries(RESULT).find(([, value]) => value === code)?.[0]
  return name === undefined ? `result ${code}` : `${name} (${code})`
}

/** Cuts what arrives into messages. */
export class MessageCutter {
  readonly #maxOctets: number
  #held: Uint8Array[] = []
  #octets = 0
  /** Nothing can be told before so many are there. */
  #wanted = SHORTEST_OCTETS

  /** Longer messages are refused before they are there. */
  constructor(maxOctets: number) {
    this.#maxOctets = maxOctets
  }

  /** Whether a message has begun and is not whole. */
  get isWithin(): boolean {
    return this.#octets > 0
  }

  /**
   * The messages that are whole now.
   * @throws GatewayError DER_SYNTAX, PROTOCOL for what cannot become a message, or for one that is too long
   */
  push(octets: Uint8Array): Uint8Array[] {
    this.#held.push(octets)
    this.#octets += octets.length
    if (this.#octets < this.#wanted) return []
    const all = Buffer.concat(this.#held)
    const messages: Uint8Array[] = []
    let at = 0
    let size = this.#sizeAt(all, at)
    while (size !== null && at + size <= all.length) {
      messages.push(all.subarray(at, at + size))
      at += size
      size = this.#sizeAt(all, at)
    }
    this.#held = at < all.length ? [all.subarray(at)] : []
    this.#octets = all.length - at
    this.#wanted = size ?? this.#octets + 1
    return messages
  }

  /** @returns null when its header is not there yet */
  #sizeAt(octets: Uint8Array, at: number): number | null {
    const found = at < octets.length ? readElement(octets, at) : null
    if (octets[at] !== undefined && octets[at] !== TAG.sequence) throw malformed("no message begins here")
    if (found === null) return null
    if (found.end === null) throw malformed("indefinite length")
    if (found.end - at > this.#maxOctets) throw malformed(`a message of over ${this.#maxOctets} octets`)
    return found.end - at
  }
}

// Control ::= SEQUENCE { controlType LDAPOID, criticality BOOLEAN DEFAULT FALSE, controlValue OCTET STRING OPTIONAL }
function hasCritical({ content }: Piece): boolean {
  return piecesOf(content).some((control) => {
    if (control.tag !== TAG.sequence) throw malformed("no control")
    return piecesOf(control.content).some(({ tag, content }) => tag === TAG.boolean && content[0] !== 0)
  })
}

export function malformed(what: string): GatewayError {
  return new GatewayError("PROTOCOL", `ldap: ${what}`)
}

/** [0] Controls. */
const CONTROLS = 0xa0
/** Attributes of an entry, values of an attribute, terms of a filter: an object each. */
export const MAX_PIECES = 4_096
const SHORTEST_OCTETS = 2
