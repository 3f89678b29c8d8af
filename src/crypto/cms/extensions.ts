import { GatewayError } from "../../errors.ts"
import { booleanTrue, explicit, implicit, integer, namedBits, nil, octetString, oid, sequence } from "./der.ts"

/** A name an extension can carry (RFC 5280 §4.2.1.6); `network` stands in name constraints only. */
export type GeneralName =
  | { readonly kind: "mailbox"; readonly address: string }
  | { readonly kind: "dns"; readonly name: string }
  | { readonly kind: "ip"; readonly address: string }
  | { readonly kind: "network"; readonly address: string; readonly prefixBits: number }

/** Bit numbers of RFC 5280 §4.2.1.3. */
const KEY_USAGE = { digitalSignature: 0, keyAgreement: 4, keyCertSign: 5, cRLSign: 6 } as const
const PURPOSE = {
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  emailProtection: "1.3.6.1.5.5.7.3.4",
} as const

/** RFC 3565 §4.1, RFC 5084 §3.2. */
const CAPABILITY = {
  "aes-256-gcm": "2.16.840.1.101.3.4.1.46",
  "aes-256-cbc": "2.16.840.1.101.3.4.1.42",
  "aes-128-cbc": "2.16.840.1.101.3.4.1.2",
} as const

/** RFC 5280 §4.2.1.9, critical; null for an end entity. */
export function basicConstraints(authority: { readonly pathLength: number } | null): Uint8Array {
  return critical("2.5.29.19", authority ? sequence(booleanTrue(), integer(authority.pathLength)) : sequence())
}

/** RFC 5280 §4.2.1.3, critical. */
export function keyUsage(...usages: readonly (keyof typeof KEY_USAGE)[]): Uint8Array {
  return critical("2.5.29.15", namedBits(usages.map((usage) => KEY_USAGE[usage])))
}

/** RFC 5280 §4.2.1.12 */
export function extendedKeyUsage(purpose: keyof typeof PURPOSE): Uint8Array {
  return extension("2.5.29.37", sequence(oid(PURPOSE[purpose])))
}

/** RFC 5280 §4.2.1.6; not critical, since the subject is never empty here. */
export function subjectAltName(names: readonly GeneralName[]): Uint8Array {
  return extension("2.5.29.17", sequence(...names.map(generalName)))
}

/** RFC 5280 §4.2.1.10, critical. */
export function nameConstraints(permitted: readonly GeneralName[], excluded: readonly GeneralName[]): Uint8Array {
  const subtrees = (names: readonly GeneralName[]) => names.map((name) => sequence(generalName(name)))
  const parts = [permitted, excluded].flatMap((names, number) =>
    names.length === 0 ? [] : [explicit(number, ...subtrees(names))],
  )
  return critical("2.5.29.30", sequence(...parts))
}

/** RFC 5280 §4.2.1.2 */
export function subjectKeyIdentifier(identifier: Uint8Array): Uint8Array {
  return extension("2.5.29.14", octetString(identifier))
}

/** RFC 5280 §4.2.1.1, keyIdentifier alone. */
export function authorityKeyIdentifier(identifier: Uint8Array): Uint8Array {
  return extension("2.5.29.35", sequence(implicit(0, identifier)))
}

/** RFC 9608 §2: it ends before anybody would ask whether it was revoked. */
export function noRevocation(): Uint8Array {
  return extension("2.5.29.56", nil())
}

/** Content ciphers that the holder reads, preferred first (RFC 4262, RFC 8551 §2.5.2). */
export function smimeCapabilities(...ciphers: readonly (keyof typeof CAPABILITY)[]): Uint8Array {
  return extension("1.2.840.113549.1.9.15", sequence(...ciphers.map((cipher) => sequence(oid(CAPABILITY[cipher])))))
}

function extension(id: string, value: Uint8Array): Uint8Array {
  return sequence(oid(id), octetString(value))
}

function critical(id: string, value: Uint8Array): Uint8Array {
  return sequence(oid(id), booleanTrue(), octetString(value))
}

function generalName(name: GeneralName): Uint8Array {
  switch (name.kind) {
    case "mailbox":
      return implicit(1, Buffer.from(name.address, "latin1"))
    case "dns":
      return implicit(2, Buffer.from(name.name, "latin1"))
    case "ip":
      return implicit(7, addressOctets(name.address))
    case "network":
      return implicit(7, network(addressOctets(name.address), name.prefixBits))
    default:
      return name satisfies never
  }
}

/** Address and mask, one behind the other (RFC 5280 §4.2.1.10). */
function network(address: Uint8Array, prefixBits: number): Uint8Array {
  const mask = address.map((_, at) => (0xff00 >> Math.min(8, Math.max(0, prefixBits - at * 8))) & 0xff)
  return Buffer.concat([address, mask])
}

/** The 4 or 16 octets of an address in text. The URL parser does the reading: it knows every form and writes one. */
function addressOctets(text: string): Uint8Array {
  const six = text.includes(":")
  if (!six && !/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) throw noAddress()
  try {
    const host = new URL(`http://${six ? `[${text}]` : text}/`).hostname
    return six ? ipv6Octets(host.slice(1, -1)) : Uint8Array.from(host.split(".").map(Number))
  } catch (cause) {
    throw noAddress(cause)
  }
}

/** Eight groups, of which "::" stands for as many zeros as are missing (RFC 5952). */
function ipv6Octets(text: string): Uint8Array {
  const [left = [], right = []] = text.split("::").map((half) => (half === "" ? [] : half.split(":")))
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0")
  const groups = [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16))
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]))
}

function noAddress(cause?: unknown): GatewayError {
  return new GatewayError("CERTIFICATE_INVALID", "issue: an IP address that is none", { cause })
}
