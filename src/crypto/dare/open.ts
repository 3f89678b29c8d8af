import { GatewayError } from "../../errors.ts"
import type { StreamCipher } from "../primitives/cipher.ts"
import { equalConstantTime } from "../primitives/hash.ts"
import { type OpeningKey, openBaseSeed } from "./agreement.ts"
import { readAnnotation } from "./annotation.ts"
import { type Envelope, type EnvelopeEnd, signaturesOf } from "./envelope.ts"
import type { EnvelopeFields } from "./fields.ts"
import { type BaseSeed, cannotOpen, contentDecryptor, SALT_OCTETS, witnessOf } from "./key-schedule.ts"
import { witnessedOctets } from "./signature.ts"

/** An envelope's keys: what its payload and its annotations are opened with. Null for one that is not encrypted. */
export type EnvelopeSeed = { readonly base: BaseSeed; readonly salt: Uint8Array } | null

/**
 * Finds what opens an envelope with this header. `recipients` stand in another header when the frame of a sequence uses an earlier frame's exchange.
 * @throws GatewayError DARE_UNSUPPORTED for another cipher, DARE_MALFORMED without a salt, DECRYPTION_FAILED when none of the keys opens it
 */
export function seedOf(
  header: EnvelopeFields,
  keys: readonly OpeningKey[],
  recipients = header.recipients,
): EnvelopeSeed {
  if (header.encryption === null || header.encryption === "none") return null
  if (header.encryption !== "A256CBC") throw new GatewayError("DARE_UNSUPPORTED", "dare: cipher is not A256CBC")
  if (header.salt === null || header.salt.length < SALT_OCTETS)
    throw new GatewayError("DARE_MALFORMED", "dare: salt is missing or short")
  const base = openBaseSeed(recipients, keys)
  if (base === null) throw cannotOpen()
  return { base, salt: header.salt }
}

/** Content of an envelope that is held whole. All its digests and witnesses have been checked; its signatures are the caller's to ask for. */
export interface OpenedEnvelope {
  readonly content: Uint8Array
  readonly annotations: readonly Uint8Array[]
  readonly end: EnvelopeEnd
}

/**
 * Opens an envelope; nothing is given out unless all of it is right.
 * @throws GatewayError as {@link seedOf}; DECRYPTION_FAILED in one form for a wrong key, wrong padding and a wrong witness
 */
export function openEnvelope(envelope: Envelope, keys: readonly OpeningKey[]): OpenedEnvelope {
  const seed = seedOf(envelope.header, keys)
  checkWitness(seed, envelope)
  const decryptor = decryptorOf(seed)
  const content = Buffer.concat([decryptor.update(envelope.payload), decryptor.final()])
  const annotations = envelope.header.annotations.map((segment) => readAnnotation(segment, seed))
  return { content: new Uint8Array(content), annotations, end: envelope }
}

/** An envelope whose payload passes by once: one that is received, or a frame of a sequence. */
export interface PassingEnvelope {
  /** The payload as stored. */
  payload(): AsyncIterable<Uint8Array>
  /** What is known when it has passed. */
  readonly end: EnvelopeEnd
}

/** Content up to this is held until all of it is verified: a message of the Mesh (32 KiB) is never shown before. */
export const HELD_OCTETS = 65_536

/**
 * Decrypts a payload as it passes by. The digest stands behind it, and so do the signatures as a rule: of content longer than {@link HELD_OCTETS} the
 * beginning is given out before it is verified, and whoever cannot take it back later reads the envelope twice. `check` is asked when
 * everything is known, and before the last piece is given out; it throws when the signatures are not what the caller wants.
 * @throws GatewayError as `payload()`; DECRYPTION_FAILED in one form for wrong padding and a wrong witness
 */
export async function* openPayload(
  envelope: PassingEnvelope,
  seed: EnvelopeSeed,
  check: (end: EnvelopeEnd) => void,
): AsyncGenerator<Uint8Array> {
  const decryptor = decryptorOf(seed)
  const held: Uint8Array[] = []
  let heldOctets = 0
  for await (const stored of envelope.payload()) {
    const piece = decryptor.update(stored)
    held.push(piece)
    heldOctets += piece.length
    if (heldOctets - piece.length < HELD_OCTETS) continue
    yield Buffer.concat(held.splice(0, held.length - 1))
    heldOctets = piece.length
  }
  checkWitness(seed, envelope.end)
  check(envelope.end)
  held.push(decryptor.final())
  if (held.some((piece) => piece.length > 0)) yield Buffer.concat(held)
}

/** A witness that is there must be that of this base seed: else somebody has signed a ciphertext that he cannot read (surreptitious forwarding). */
function checkWitness(seed: EnvelopeSeed, end: EnvelopeEnd): void {
  if (seed === null) return
  for (const signature of signaturesOf(end)) {
    const stated = signature.witness ?? end.header.witness ?? end.trailer?.witness ?? null
    const own = witnessOf(seed.base, seed.salt, witnessedOctets(signature, end.payloadDigest))
    if (stated && !equalConstantTime(stated, own)) throw cannotOpen()
  }
}

/** True when each signature has a witness, so that each signer knew the content. Whether the witness is right, opening has told. */
export function isWitnessed(end: EnvelopeEnd): boolean {
  const shared = end.header.witness ?? end.trailer?.witness ?? null
  return signaturesOf(end).every((signature) => (signature.witness ?? shared) !== null)
}

function decryptorOf(seed: EnvelopeSeed): StreamCipher {
  if (seed === null) return { update: (octets) => octets, final: () => new Uint8Array(0) }
  return contentDecryptor(seed.base, seed.salt)
}
