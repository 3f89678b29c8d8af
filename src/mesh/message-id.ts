/** PURE */

import { base32Decode } from "../crypto/udf/base32.ts"
import { CONTENT_TYPE, contentUdf } from "../crypto/udf/digest.ts"
import { grouped, presentUdf, UDF_TYPE } from "../crypto/udf/udf.ts"
import { GatewayError } from "../errors.ts"

/**
 * EnvelopeId of the envelope around a message (draft-hallambaker-mesh-schema, "Message identifiers"). The one in a header is not signed: whoever has opened
 * the message makes it from the MessageId inside, and compares.
 * @throws GatewayError UDF_MALFORMED
 */
export function envelopeIdOf(messageId: string): string {
  return derived(messageId, CONTENT_TYPE.envelopeId)
}

/**
 * MessageId of the answer to a message: who waits for it knows it beforehand, and others cannot tell which message it answers.
 * @throws GatewayError UDF_MALFORMED
 */
export function responseIdOf(messageId: string): string {
  return derived(messageId, CONTENT_TYPE.responseId)
}

/**
 * A digest over the whole octets of the identifier behind its type; by SHA-3 where the identifier itself is of SHA-3. Published identifiers
 * are nonces of 140 bits, which end within an octet: the four bits left over do not count.
 */
function derived(messageId: string, contentType: string): string {
  const characters = messageId.length > MAX_ID_CHARACTERS ? "" : messageId.replaceAll("-", "")
  const wellFormed = messageId === characters || messageId === grouped(characters, 4)
  const octets = wellFormed ? base32Decode(characters)?.octets : undefined
  const type = octets?.[0]
  if (!octets || type === undefined || octets.length < MIN_OCTETS)
    throw new GatewayError("UDF_MALFORMED", "message id: no UDF of 128 bits or more")
  const bySha3 = type >= UDF_TYPE.digestSha3 && type < UDF_TYPE.digestSha2
  return presentUdf(contentUdf(octets.subarray(1), contentType, bySha3 ? "SHA-3-512" : "SHA-2-512"))
}

/** The least that the reference code takes. */
const MIN_OCTETS = 16
/** Of an identifier as text: a whole digest, and its dashes. */
export const MAX_ID_CHARACTERS = 131
