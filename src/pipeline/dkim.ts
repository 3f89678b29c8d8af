import { digestOf } from "../crypto/primitives/hash.ts"
import { hasCode } from "../errors.ts"
import { parseMailboxList } from "../message/mailboxes.ts"
import { RelaxedBody } from "../mime/dkim-relaxed.ts"
import { dkimSignature } from "../mime/dkim-signature.ts"
import { fieldText, findField, MAX_HEADER_OCTETS } from "../mime/header.ts"
import type { Signatories } from "./ports.ts"
import { atHand, type Prepared, prefixed } from "./prepared.ts"
import { splitHeader } from "./protect.ts"

/**
 * The message with DKIM signatures on top (RFC 6376), one for each key of its authors' domains; as it is, where they have none. The octets behind
 * them are read once for it, and stay as they are. The same message and keys give the same octets.
 * @param acceptedAt decides which keys sign, and is the time of the signature
 * @throws GatewayError DKIM_KEY_UNUSABLE, DKIM_KEYS_CORRUPT: it must not go out unsigned
 */
export async function signed(message: Prepared, acceptedAt: Date, signatories: Signatories): Promise<Prepared> {
  const source = await atHand(message)
  const { header, body } = await splitHeader(source, MAX_HEADER_OCTETS + ADDED_OCTETS)
  const signing = authorDomains(header).flatMap((domain) => signatories.of(domain, acceptedAt))
  if (signing.length === 0) return source
  const bodyHash = await bodyHashOf(body)
  const fields = signing.map((one) => dkimSignature(header, bodyHash, one, one.signer, acceptedAt))
  return prefixed(fields, source)
}

/** Domains of the authors (RFC 5322 §3.6.2), each once. Submission lets no other author in than the account itself. */
function authorDomains(header: Uint8Array): readonly string[] {
  const from = findField(header, "from")
  try {
    return from === null ? [] : [...new Set(parseMailboxList(fieldText(from)).map(({ domain }) => domain))]
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return []
    throw error
  }
}

/** SHA-256 of a body in relaxed form. */
export async function bodyHashOf(body: Prepared): Promise<Uint8Array> {
  const relaxed = new RelaxedBody(digestOf("sha256"))
  for await (const part of body.content()) relaxed.push(part)
  return relaxed.end()
}

/** What we put on top of a header section that was accepted: a Received field, and the MIME fields of the encryption. */
export const ADDED_OCTETS = 65_536
