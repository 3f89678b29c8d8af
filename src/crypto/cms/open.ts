import { malformed, oidHex, readNode, valueOctets } from "./ber.ts"
import { contentDecryptor } from "./content-decryptor.ts"
import { TAG } from "./der.ts"
import { contentKeyFor, type OpeningKey } from "./recipient-infos.ts"

/**
 * Opens EnvelopedData (RFC 5652 §6) or AuthEnvelopedData (RFC 5083) that a P-256 KeyAgreeRecipientInfo addresses to `key`.
 * For the reader's side (export, demonstration): holds the message whole.
 * @returns null when no RecipientInfo is addressed to `key`
 * @throws GatewayError DER_SYNTAX, CMS_MALFORMED, POINT_INVALID, DECRYPTION_FAILED
 */
export function openEnveloped(octets: Uint8Array, key: OpeningKey): Uint8Array | null {
  const [type, content] = readNode(octets).children
  const isAuthenticated = oidHex(type) === OID_AUTH_ENVELOPED
  if (!isAuthenticated && oidHex(type) !== OID_ENVELOPED) throw malformed("content type")
  const parts = content?.children[0]?.children ?? []
  const recipients = parts.find((part) => part.tag === TAG.set)
  const [, algorithm, ciphertext] = parts.find((part) => part.tag === TAG.sequence)?.children ?? []
  const tag = parts.findLast((part) => part.tag === TAG.octetString)
  if (!recipients || !algorithm || !ciphertext || (isAuthenticated && !tag)) throw malformed("structure")
  const contentKey = contentKeyFor(recipients.octets, key)
  if (contentKey === null) return null
  const attributes = parts.find((part) => part.tag === 0xa1)?.octets ?? null
  const authenticated = isAuthenticated && tag ? { tag: tag.octets, attributes } : null
  const decryptor = contentDecryptor({ algorithm: algorithm.octets, authenticated }, contentKey)
  return Buffer.concat([decryptor.update(valueOctets(ciphertext)), decryptor.final()])
}

// Content octets of the object identifiers: RFC 5652 §14, RFC 5083 §2.1.
const OID_ENVELOPED = "2a864886f70d010703"
const OID_AUTH_ENVELOPED = "2a864886f70d0109100117"
