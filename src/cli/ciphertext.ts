/** PURE. Ciphertexts found in the body of a MIME part by what they are, whatever its header calls them. */
import { dearmor } from "../crypto/openpgp/armor.ts"
import { readPacketHeader } from "../crypto/openpgp/packet.ts"

/** An encrypted block of a body. */
export type Ciphertext =
  /** BER of a ContentInfo; fills the body. */
  | { readonly kind: "cms"; readonly octets: Uint8Array }
  /** Binary OpenPGP message; `before` and `behind` are text around its armor. */
  | {
      readonly kind: "openpgp"
      readonly octets: Uint8Array
      readonly before: Uint8Array
      readonly behind: Uint8Array
    }

/**
 * The encrypted block in a body. `encoding` is the Content-Transfer-Encoding as the header tells, which is believed only for
 * quoted-printable.
 * @returns null when there is none
 * @throws GatewayError OPENPGP_MALFORMED when armor is damaged
 */
export function ciphertextIn(body: Uint8Array, encoding: string): Ciphertext | null {
  if (encoding === "quoted-printable") return blockIn(quotedPrintable(body))
  const direct = blockIn(body)
  if (direct !== null) return direct
  const text = base64Text(body)
  return text === null ? null : blockIn(Buffer.from(text, "base64"))
}

function blockIn(octets: Uint8Array): Ciphertext | null {
  if (isEncryptedContentInfo(octets)) return { kind: "cms", octets }
  if (isOpenPgpMessage(octets)) return { kind: "openpgp", octets, before: NOTHING, behind: NOTHING }
  return armorIn(octets)
}

// ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, … }   RFC 5652 §3; length definite or indefinite
function isEncryptedContentInfo(octets: Uint8Array): boolean {
  if (octets[0] !== 0x30) return false
  return ENCRYPTED_CONTENT_INFO.test(Buffer.from(octets.subarray(0, 24)).toString("hex"))
}

/** A PKESK of version 3 or 6, or an SKESK of version 4 to 6, stands first (RFC 9580 §5.1, §5.3). */
function isOpenPgpMessage(octets: Uint8Array): boolean {
  if (((octets[0] ?? 0) & 0x80) === 0) return false
  const header = readPacketHeader(octets, 0)
  const version = header && octets[header.headerOctets]
  if (header?.tag === 1) return version === 3 || version === 6
  return header?.tag === 3 && (version === 4 || version === 5 || version === 6)
}

function armorIn(octets: Uint8Array): Ciphertext | null {
  const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  const start = text.indexOf(ARMOR_BEGIN)
  if (start < 0 || (start > 0 && text[start - 1] !== LF)) return null
  const armored = dearmor(text.subarray(start))
  if (armored === null) return null
  const end = text.indexOf(ARMOR_END, start)
  const lineEnd = text.indexOf(LF, end)
  const behind = end < 0 || lineEnd < 0 ? NOTHING : text.subarray(lineEnd + 1)
  return { kind: "openpgp", octets: armored.binary, before: text.subarray(0, start), behind }
}

/** The body when its first line is base64 of something that may be encrypted and all of it is base64, else null. */
function base64Text(body: Uint8Array): string | null {
  const text = Buffer.from(body.buffer, body.byteOffset, body.length)
  const head = text.subarray(0, MAX_LINE_OCTETS).toString("latin1").trimStart()
  if (!/^[A-Za-z0-9+/]{16}/.test(head)) return null
  const whole = text.toString("latin1")
  return /[^A-Za-z0-9+/=\s]/.test(whole) ? null : whole
}

// RFC 2045 §6.7
function quotedPrintable(body: Uint8Array): Uint8Array {
  const text = Buffer.from(body.buffer, body.byteOffset, body.length).toString("latin1")
  const joined = text.replaceAll(/[ \t]+(?=\r?\n)/g, "").replaceAll(/=\r?\n/g, "")
  const decoded = joined.replaceAll(/=([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(decoded, "latin1")
}

/** envelopedData (RFC 5652 §6.1) or authEnvelopedData (RFC 5083 §2.1) behind the header of the SEQUENCE. */
const ENCRYPTED_CONTENT_INFO =
  /^30(?:[0-7].|80|81..|82.{4}|83.{6}|84.{8})06(?:092a864886f70d010703|0b2a864886f70d0109100117)/
const ARMOR_BEGIN = "-----BEGIN PGP MESSAGE-----"
const ARMOR_END = "-----END PGP MESSAGE-----"
/** RFC 5322 §2.1.1 */
const MAX_LINE_OCTETS = 998
const LF = 10
const NOTHING = new Uint8Array(0)
