import type { StreamCipher } from "../primitives/cipher.ts"
import { aesCbcDecryptor, aesGcmDecryptor } from "../primitives/opening.ts"
import { malformed, oidHex, readNode, valueOctets } from "./ber.ts"
import { TAG } from "./der.ts"

/** What stands around the ciphertext of EnvelopedData (RFC 5652 §6.1) or AuthEnvelopedData (RFC 5083 §2.1), each with its header. */
export interface EncryptedContent {
  /** contentEncryptionAlgorithm */
  readonly algorithm: Uint8Array
  /** null: nothing authenticates the content. */
  readonly authenticated: {
    /** mac */
    readonly tag: Uint8Array
    /** authAttrs, [1]; null: there are none. */
    readonly attributes: Uint8Array | null
  } | null
}

/**
 * What turns the ciphertext into the content: AES in CBC, or in GCM where it is authenticated. **Nothing that it gives is known to be right before
 * `final` has returned.**
 * @throws GatewayError CMS_MALFORMED, DER_SYNTAX; DECRYPTION_FAILED whatever is wrong with key and ciphertext, here and from `update` and `final`
 */
export function contentDecryptor({ algorithm, authenticated }: EncryptedContent, contentKey: Uint8Array): StreamCipher {
  const [cipher, parameters] = readNode(algorithm).children
  const octets = (authenticated === null ? CBC : GCM)[oidHex(cipher)]
  if (octets === undefined || parameters === undefined) throw malformed("content cipher")
  if (contentKey.length !== octets) throw malformed("content key")
  if (authenticated === null) return aesCbcDecryptor(contentKey, valueOctets(parameters))
  const nonce = parameters.children[0]
  if (nonce === undefined) throw malformed("content cipher")
  return aesGcmDecryptor(contentKey, {
    nonce: valueOctets(nonce),
    tag: valueOctets(readNode(authenticated.tag)),
    associated: associatedData(authenticated.attributes),
  })
}

/** RFC 5083 §2.2: authenticated attributes are associated data, as a SET OF. */
function associatedData(attributes: Uint8Array | null): Uint8Array {
  return attributes === null ? new Uint8Array(0) : Buffer.concat([Uint8Array.of(TAG.set), attributes.subarray(1)])
}

// Octets of the key by the content octets of the object identifier (RFC 3565 §4.1, RFC 5084 §3.2).
const CBC: Readonly<Record<string, number>> = {
  "608648016503040102": 16,
  "608648016503040116": 24,
  "60864801650304012a": 32,
}
const GCM: Readonly<Record<string, number>> = {
  "608648016503040106": 16,
  "60864801650304011a": 24,
  "60864801650304012e": 32,
}
