import { GatewayError } from "../../errors.ts"
import { readJson } from "../jsonb/read.ts"
import { itemsOf, type JsonValue, octetsOf } from "../jsonb/value.ts"
import type { PublicKey } from "../mesh-keys/key.ts"
import { equalConstantTime, sha512 } from "../primitives/hash.ts"
import { type EnvelopeFields, type EnvelopeSignature, fieldsOf } from "./fields.ts"
import { isEnvelopeSignature } from "./signature.ts"

/** Everything about an envelope but its payload, once that has been seen. */
export interface EnvelopeEnd {
  readonly header: EnvelopeFields
  readonly trailer: EnvelopeFields | null
  /** SHA-512 of the payload as it was received. */
  readonly payloadDigest: Uint8Array
}

/** A DARE envelope that is held whole: messages, profiles, entries of catalogs. What may be large is read by {@link file://./receive.ts}. */
export interface Envelope extends EnvelopeEnd {
  /** As stored: ciphertext, when it is encrypted. */
  readonly payload: Uint8Array
}

/**
 * Reads an envelope, `[header, payload, trailer]`, also as the one member DareEnvelope of an object; the trailer may be missing. JSON or
 * JSON-B.
 * @throws GatewayError DARE_MALFORMED, DARE_ALTERED (another digest is stated than the payload has), DARE_TOO_LARGE, JSONB_SYNTAX,
 * JSONB_TOO_LARGE, JSONB_TYPE
 */
export function readEnvelope(octets: Uint8Array): Envelope {
  return envelopeOf(readJson(octets), octets)
}

/** As {@link readEnvelope}, of a value that stands in `octets`: profiles stand in messages, messages in requests. */
export function envelopeOf(value: JsonValue, octets: Uint8Array): Envelope {
  const wrapped = value.kind === "object" && value.members.size === 1 ? value.members.get("DareEnvelope") : undefined
  const [header, payload, trailer, ...more] = itemsOf(wrapped ?? value, "envelope")
  if (!header || more.length > 0)
    throw new GatewayError("DARE_MALFORMED", "dare: envelope is no header, payload and trailer")
  const stored = payload && payload.kind !== "null" ? octetsOf(payload, "payload") : new Uint8Array(0)
  const envelope = {
    header: fieldsOf(header, octets),
    payload: stored,
    trailer: trailer && trailer.kind !== "null" ? fieldsOf(trailer, octets) : null,
    payloadDigest: sha512(stored),
  }
  checkEnd(envelope)
  return envelope
}

/**
 * Checks what is stated of the payload: its digest, where one is stated, and that the digest is one we know.
 * @throws GatewayError DARE_ALTERED, DARE_UNSUPPORTED, DARE_MALFORMED (signatures in header and trailer both)
 */
export function checkEnd({ header, trailer, payloadDigest }: EnvelopeEnd): void {
  if (header.signatures.length > 0 && (trailer?.signatures.length ?? 0) > 0)
    throw new GatewayError("DARE_MALFORMED", "dare: signatures in header and trailer")
  for (const fields of [header, trailer]) {
    if (fields?.digest && fields.digest !== "S512")
      throw new GatewayError("DARE_UNSUPPORTED", "dare: digest is not SHA-512")
    if (fields?.payloadDigest && !equalConstantTime(fields.payloadDigest, payloadDigest))
      throw new GatewayError("DARE_ALTERED", "dare: payload has another digest than is stated")
  }
}

/** The signatures of an envelope, wherever they stand. */
export function signaturesOf({
  header,
  trailer,
}: Pick<EnvelopeEnd, "header" | "trailer">): readonly EnvelopeSignature[] {
  return header.signatures.length > 0 ? header.signatures : (trailer?.signatures ?? [])
}

/** What became of one signature. */
export interface Verdict {
  readonly signature: EnvelopeSignature
  /** Of whom, with "valid"; null when the key is unknown. */
  readonly key: PublicKey | null
  readonly status: "valid" | "invalid" | "key unknown"
}

/**
 * Verifies the signatures, of either generation, over the digest of the payload as it was received. Whose keys they are, and whether they may sign
 * this, is the caller's to know: `keyOf` answers null for a key that it does not trust.
 */
export function verifySignatures(
  end: EnvelopeEnd,
  keyOf: (signature: EnvelopeSignature) => PublicKey | null,
): Verdict[] {
  return signaturesOf(end).map((signature) => {
    const key = keyOf(signature)
    if (key === null) return { signature, key, status: "key unknown" }
    return { signature, key, status: isEnvelopeSignature(signature, key, end.payloadDigest) ? "valid" : "invalid" }
  })
}
