import { GatewayError } from "../../errors.ts"
import { parseDomain } from "../../message/address.ts"
import type { Certificate } from "../cms/certificate.ts"
import { childrenOf, contentOf, hex, octetsOf, oid, readWhole, TAG, type WholeElement } from "../cms/der.ts"
import { EXTENSION } from "./extension-values.ts"

/** A Name for people: its common name, else its organization, else that it has neither. Made of strangers' octets, so printable and short. */
export function nameText(name: Uint8Array): string {
  const all = attributesOrNone(name)
  const found = all.find(({ type }) => type === COMMON_NAME) ?? all.find(({ type }) => type === ORGANIZATION)
  const text = found ? printable(found.text) : ""
  return text === "" ? "an authority without a name" : `“${text}”`
}

/** Text of strangers made fit for a log or a terminal. */
export function printable(text: string): string {
  const clean = text.replace(/[\p{C}\p{Z}]+/gu, " ").trim()
  return clean.length > MAX_TEXT ? `${clean.slice(0, MAX_TEXT)}…` : clean
}

/**
 * Whether the names of a certificate keep to the name constraints (RFC 5280 §4.2.1.10) of an authority above it.
 * Mailboxes and directory names are compared; a constraint on names of another kind that the certificate has is taken to be broken.
 * @returns null when they do, or what breaks them, for people
 * @throws GatewayError DER_SYNTAX, CERTIFICATE_INVALID
 */
export function brokenNameConstraint(authority: Certificate, certificate: Certificate): string | null {
  const value = authority.extensions.get(EXTENSION.nameConstraints)?.value
  if (!value) return null
  const { permitted, excluded } = readConstraints(value)
  const names = namesOf(certificate)
  if ((permitted.length + excluded.length) * names.length > MAX_COMPARISONS)
    throw new GatewayError("CERTIFICATE_INVALID", "x509: too many names and name constraints")
  for (const name of names) {
    const same = (base: GeneralName) => base.tag === name.tag
    if (excluded.filter(same).some((base) => matches(name, base, true) !== "no")) return `${name.text} is excluded`
    const allowing = permitted.filter(same)
    if (allowing.length > 0 && !allowing.some((base) => matches(name, base, false) === "yes"))
      return `${name.text} is not among what it may issue for`
  }
  return null
}

/** An RDN's attribute (RFC 5280 §4.1.2.4). */
interface Attribute {
  /** Hexadecimal DER of its OBJECT IDENTIFIER. */
  readonly type: string
  readonly text: string
}

interface GeneralName {
  readonly tag: number
  /** Content; a directoryName's is the Name, since it is tagged explicitly. */
  readonly octets: Uint8Array
  /** For people. */
  readonly text: string
}

// RFC 5280 Appendix A.1: Name ::= SEQUENCE OF SET OF SEQUENCE { type, value }
function attributesOf(name: Uint8Array): Attribute[][] {
  return childrenOf(name, readWhole(name, 0, name.length, TAG.sequence)).map((set) =>
    childrenOf(name, set).map((attribute) => {
      const [type, value] = childrenOf(name, attribute)
      if (!type || !value) throw new GatewayError("CERTIFICATE_INVALID", "x509: attribute without type or value")
      return { type: hex(octetsOf(name, type)), text: stringOf(name, value) }
    }),
  )
}

function attributesOrNone(name: Uint8Array): Attribute[] {
  try {
    return attributesOf(name).flat()
  } catch (error) {
    if (error instanceof GatewayError) return []
    throw error
  }
}

function stringOf(der: Uint8Array, value: WholeElement): string {
  const octets = Buffer.from(contentOf(der, value))
  if (value.tag === TAG.bmpString)
    return octets
      .subarray(0, octets.length & ~1)
      .swap16()
      .toString("utf16le")
  return octets.toString(value.tag === TAG.utf8String ? "utf8" : "latin1")
}

/** Every name that constraints are about: the subject, its mail addresses, and the alternative names. */
function namesOf(certificate: Certificate): GeneralName[] {
  const { subject, extensions } = certificate
  const names: GeneralName[] = certificate.emailAddresses.map(mailbox)
  const attributes = attributesOf(subject).flat()
  if (attributes.length > 0) names.push({ tag: DIRECTORY_NAME, octets: subject, text: nameText(subject) })
  names.push(...attributes.filter(({ type }) => type === EMAIL_ADDRESS).map(({ text }) => mailbox(text)))
  const value = extensions.get(EXTENSION.subjectAltName)?.value
  if (!value) return names
  for (const found of childrenOf(value, readWhole(value, 0, value.length, TAG.sequence))) {
    if (found.tag === RFC822_NAME || isSmtpUtf8Mailbox(value, found)) continue
    names.push({ tag: found.tag, octets: contentOf(value, found), text: "a name that is no mail address" })
  }
  return names
}

function isSmtpUtf8Mailbox(der: Uint8Array, found: WholeElement): boolean {
  if (found.tag !== OTHER_NAME) return false
  const [kind] = childrenOf(der, found)
  return kind !== undefined && hex(octetsOf(der, kind)) === SMTP_UTF8_MAILBOX
}

function mailbox(address: string): GeneralName {
  return { tag: RFC822_NAME, octets: Buffer.from(address, "utf8"), text: printable(address) }
}

interface Constraints {
  readonly permitted: readonly GeneralName[]
  readonly excluded: readonly GeneralName[]
}

// SEQUENCE { [0] permittedSubtrees, [1] excludedSubtrees }, each of SEQUENCE { base, [0] minimum, [1] maximum }
function readConstraints(value: Uint8Array): Constraints {
  const parts = childrenOf(value, readWhole(value, 0, value.length, TAG.sequence))
  const bases = (tag: number): GeneralName[] =>
    parts
      .filter((part) => part.tag === tag)
      .flatMap((part) => childrenOf(value, part))
      .map((subtree) => {
        const [base, ...distances] = childrenOf(value, subtree)
        if (!base || distances.length > 0)
          throw new GatewayError("CERTIFICATE_INVALID", "x509: name constraint with distances")
        return { tag: base.tag, octets: contentOf(value, base), text: "" }
      })
  return { permitted: bases(0xa0), excluded: bases(0xa1) }
}

/** Whether `name` is within the subtree; "unknown" for kinds of names that are not compared here. `isBroad` ignores case where RFCs do not. */
function matches(name: GeneralName, base: GeneralName, isBroad: boolean): "yes" | "no" | "unknown" {
  if (name.tag === RFC822_NAME) return mailboxWithin(text(name.octets), text(base.octets), isBroad) ? "yes" : "no"
  if (name.tag === DIRECTORY_NAME) return directoryWithin(name.octets, base.octets) ? "yes" : "no"
  return "unknown"
}

/** RFC 5280 §4.2.1.10: `a@host` is that mailbox, `host` all of a host, `.domain` all hosts in a domain. RFC 9598 §6: U-labels as A-labels. */
function mailboxWithin(address: string, base: string, isBroad: boolean): boolean {
  const at = address.lastIndexOf("@")
  const host = aLabels(address.slice(at + 1))
  // What is no address is within nothing that is permitted, and within all that is excluded.
  if (at <= 0 || host === null) return isBroad
  const baseAt = base.lastIndexOf("@")
  const baseHost = aLabels(base.slice(baseAt + 1).replace(/^\./, ""))
  if (baseHost === null) return isBroad
  if (base.startsWith(".")) return host.endsWith(`.${baseHost}`)
  if (baseAt < 0) return host === baseHost
  const [own, other] = [address.slice(0, at), base.slice(0, baseAt)]
  return host === baseHost && (own === other || (isBroad && own.toLowerCase() === other.toLowerCase()))
}

/** @returns null for what is no domain */
function aLabels(domain: string): string | null {
  try {
    return parseDomain(domain)
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** Whether the base is what the name begins with. Text is compared without case and with blanks folded (RFC 5280 §7.1, RFC 4518 §2.6.1). */
function directoryWithin(name: Uint8Array, base: Uint8Array): boolean {
  const own = attributesOf(name).map(comparable)
  return attributesOf(base).every((set, at) => comparable(set) === own[at])
}

function comparable(set: readonly Attribute[]): string {
  const parts = set.map(({ type, text: value }) => `${type}=${value.trim().replace(/\s+/g, " ").toLowerCase()}`)
  return JSON.stringify(parts.toSorted())
}

function text(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("utf8")
}

/** Names times constraints: authorities list a handful, and each comparison takes some microseconds. */
export const MAX_COMPARISONS = 10_000
const MAX_TEXT = 80
// Context tags of GeneralName.
const OTHER_NAME = 0xa0
const RFC822_NAME = 0x81
const DIRECTORY_NAME = 0xa4
const COMMON_NAME = hex(oid("2.5.4.3"))
const ORGANIZATION = hex(oid("2.5.4.10"))
const EMAIL_ADDRESS = hex(oid("1.2.840.113549.1.9.1"))
const SMTP_UTF8_MAILBOX = hex(oid("1.3.6.1.5.5.7.8.9"))
