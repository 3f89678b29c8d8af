import { GatewayError } from "../../errors.ts"
import { hkdfSha256 } from "../primitives/hash.ts"
import { WRAP_OVERHEAD_OCTETS } from "../primitives/keywrap.ts"
import { isP256Point, P256_POINT_OCTETS } from "../primitives/p256.ts"
import { type EnvelopeSecrets, envelopedHead } from "./enveloped.ts"
import { type CmsRecipient, p256AgreedKey } from "./recipient.ts"

/**
 * What makes the ciphertext of a DARE envelope (A256CBC) an EnvelopedData as well, for the holder of one certificate (docs/CRYPTO.md, "One ciphertext, two
 * envelopes"). These are fields of fixed length and not DER: who builds the EnvelopedData has a certificate of his own, and nothing foreign gets in.
 */
export interface SecondEnvelope {
  /** SHA-256 of the DER of the certificate. */
  readonly kid: Uint8Array
  /** The sender's ephemeral point, uncompressed. */
  readonly epk: Uint8Array
  readonly kdf: "sha256"
  /** The content-encryption key, wrapped. */
  readonly wck: Uint8Array
  readonly iv: Uint8Array
  /** {@link commitment}. */
  readonly commit: Uint8Array
}

/** Octets of each field. */
export const SECOND_ENVELOPE_OCTETS = {
  kid: 32,
  epk: P256_POINT_OCTETS,
  wck: 32 + WRAP_OVERHEAD_OCTETS,
  iv: 16,
  commit: 32,
} as const

/**
 * The sender's side. `secrets` are those of the ciphertext, `ephemeral` a scalar of P-256 used for nothing else; `payloadDigest`: SHA-512 of the ciphertext.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for a key that is not on P-256
 */
export function secondEnvelope(
  recipient: CmsRecipient,
  { contentKey, iv, ephemeral }: EnvelopeSecrets,
  payloadDigest: Uint8Array,
): SecondEnvelope {
  const { ephemeralPoint, wrappedKey } = p256AgreedKey(pointOf(recipient), ephemeral, contentKey)
  const commit = commitment(contentKey, iv, payloadDigest)
  return { kid: recipient.digest, epk: ephemeralPoint, kdf: "sha256", wck: wrappedKey, iv, commit }
}

/**
 * The receiving side, which opens nothing: what stands before the ciphertext, so that both together are a DER ContentInfo with EnvelopedData for
 * `recipient`.
 * @throws GatewayError SECOND_ENVELOPE_INVALID when the fields are for another certificate or cannot be right; LENGTH_MISMATCH when the ciphertext is none
 */
export function secondEnvelopeHead(
  recipient: CmsRecipient,
  fields: SecondEnvelope,
  ciphertextOctets: number,
): Uint8Array {
  pointOf(recipient)
  for (const name of FIELDS)
    if (fields[name].length !== SECOND_ENVELOPE_OCTETS[name])
      throw invalid(`${name} is not ${SECOND_ENVELOPE_OCTETS[name]} octets long`)
  if (!isP256Point(fields.epk)) throw invalid("epk is no point of P-256")
  if (Buffer.compare(fields.kid, recipient.digest) !== 0) throw invalid("is for another certificate")
  return envelopedHead(recipient, { ephemeralPoint: fields.epk, wrappedKey: fields.wck }, fields.iv, ciphertextOctets)
}

/**
 * 32 octets that bind the content-encryption key to the ciphertext: CBC does not, so a sender could give the holders of two envelopes two keys, and
 * with them two texts. Whoever has opened one of the envelopes compares (in constant time); a recrypted one keeps it, since key and IV stay.
 * HKDF-SHA256(contentKey, salt = payloadDigest, info = "postern/cek-commit" || iv).
 */
export function commitment(contentKey: Uint8Array, iv: Uint8Array, payloadDigest: Uint8Array): Uint8Array {
  return hkdfSha256(contentKey, payloadDigest, Buffer.concat([COMMITMENT, iv]), SECOND_ENVELOPE_OCTETS.commit)
}

function pointOf({ key }: CmsRecipient): Uint8Array {
  if (key.kind !== "p256")
    throw new GatewayError("CERTIFICATE_UNSUPPORTED", "second envelope: the certificate's key is not on P-256")
  return key.point
}

function invalid(why: string): GatewayError {
  return new GatewayError("SECOND_ENVELOPE_INVALID", `second envelope: ${why}`)
}

const FIELDS = ["kid", "epk", "wck", "iv", "commit"] as const
const COMMITMENT = Buffer.from("postern/cek-commit")
