import { Base64UrlEncoder } from "../jsonb/base64url.ts"
import { dataHead, verbatim, type Writable, writeJson } from "../jsonb/write.ts"
import { aesCbcEncryptor, BLOCK_OCTETS, type StreamCipher } from "../primitives/cipher.ts"
import { type Digest, digestOf, type HkdfKey, hkdfSha256 } from "../primitives/hash.ts"
import { joined } from "../primitives/joined.ts"
import { type Recipient, recipientEntry } from "./agreement.ts"
import { writeAnnotation } from "./annotation.ts"
import { BASE_SEED_OCTETS, type ContentKeys, contentKeys, SALT_OCTETS, witnessOf } from "./key-schedule.ts"
import type { EnvelopeSeed } from "./open.ts"
import { manifestOf, type Signer, signatureEntry, signatureOctets } from "./signature.ts"

/** Everything secret in one envelope. Equal secrets may only ever meet equal content, annotations included. */
export interface EnvelopeSecrets {
  readonly baseSeed: Uint8Array
  readonly salt: Uint8Array
  /** The ephemeral private key for the recipient number `index`, of so many octets. */
  readonly ephemeral: (index: number, octets: number) => Uint8Array
}

/**
 * The secrets of one envelope from a message's seed (32 random octets), so that a repeated delivery writes the same octets again.
 * `context` must differ wherever the content does.
 */
export function deriveEnvelopeSecrets(seed: HkdfKey, context: string): EnvelopeSecrets {
  const derive = (label: string, octets: number) =>
    hkdfSha256(seed, new Uint8Array(0), `postern/dare/1 ${label} ${context}`, octets)
  return {
    baseSeed: derive("seed", BASE_SEED_OCTETS),
    salt: derive("salt", SALT_OCTETS),
    ephemeral: (index, octets) => derive(`ephemeral ${index}`, octets),
  }
}

/** How an envelope is made. */
export interface SealOptions {
  /** Null: it is not encrypted. */
  readonly encryption: { readonly recipients: readonly Recipient[]; readonly secrets: EnvelopeSecrets } | null
  readonly signers?: readonly Signer[]
  /** Each becomes an encrypted data segment. */
  readonly annotations?: readonly Uint8Array[]
  /** A ContentMeta, readable by everybody. */
  readonly contentMeta?: Writable
  /** Further members of the header (EnvelopeId, SequenceInfo). */
  readonly header?: { readonly [name: string]: Writable | undefined }
  /** Further members of the trailer, once the digest of the payload is known; always of the same length. */
  readonly trailer?: (payloadDigest: Uint8Array) => { readonly [name: string]: Writable | undefined }
}

/** Writes one envelope of generation 2024, its parts apart: an envelope and the frame of a sequence put them together each in its way. */
export class EnvelopeSealer {
  /** JSON text of the header. */
  readonly header: Uint8Array
  /** JSON text of `recipients`, as it stands in there; empty where there are none. */
  readonly recipients: Uint8Array
  /** Secret. Null: it is not encrypted. */
  readonly keys: ContentKeys | null
  readonly #options: SealOptions
  readonly #seed: EnvelopeSeed
  readonly #cipher: StreamCipher
  readonly #digest: Digest = digestOf("sha512")

  constructor(options: SealOptions) {
    this.#options = options
    this.#seed = seedOf(options)
    this.keys = this.#seed && contentKeys(this.#seed.base, this.#seed.salt)
    this.#cipher = encryptorOf(this.keys)
    this.recipients = recipientsOf(options)
    this.header = writeJson(headerOf(options, this.#seed, this.recipients))
  }

  /** Octets of the payload as stored, for content of this length. */
  payloadOctets(contentOctets: number): number {
    return this.#seed === null ? contentOctets : contentOctets - (contentOctets % BLOCK_OCTETS) + BLOCK_OCTETS
  }

  /** Octets of the trailer, which are the same whatever the content is. */
  get trailerOctets(): number {
    const blank = (signer: Signer): Signer => ({ ...signer, sign: () => new Uint8Array(signatureOctets(signer.curve)) })
    const options = { ...this.#options, signers: (this.#options.signers ?? []).map(blank) }
    return writeJson(trailerOf(options, this.#seed, new Uint8Array(64))).length
  }

  update(content: Uint8Array): Uint8Array {
    return this.#digested(this.#cipher.update(content))
  }

  final(): Uint8Array {
    return this.#digested(this.#cipher.final())
  }

  /** SHA-512 of the payload and JSON text of the trailer; once, behind `final()`. */
  end(): { readonly payloadDigest: Uint8Array; readonly trailer: Uint8Array } {
    const payloadDigest = new Uint8Array(this.#digest.digest())
    return { payloadDigest, trailer: this.trailer(payloadDigest) }
  }

  /** JSON text of the trailer, where somebody else has encrypted. */
  trailer(payloadDigest: Uint8Array): Uint8Array {
    return writeJson(trailerOf(this.#options, this.#seed, payloadDigest))
  }

  #digested(octets: Uint8Array): Uint8Array {
    this.#digest.update(octets)
    return octets
  }
}

/** JSON is base64url, a third longer; JSON-B has the octets themselves. */
export type EnvelopeForm = "json" | "json-b"

/** What can be said of an envelope once it is written. */
export interface SealedEnvelope {
  /** JSON text, as in {@link EnvelopeSealer}. */
  readonly recipients: Uint8Array
  /** Of the payload as stored. */
  readonly payloadOctets: number
  readonly payloadDigest: Uint8Array
  /** Secret, as in {@link EnvelopeSealer}. */
  readonly keys: ContentKeys | null
}

/** Encrypts content as it passes by: AES-256-CBC with PKCS#7 padding. @returns SHA-512 of what was given out, 64 octets */
export type EncryptContent = (
  keys: ContentKeys,
  content: AsyncIterable<Uint8Array>,
) => AsyncGenerator<Uint8Array, Uint8Array>

/** The same as {@link sealEnvelope}, of content that somebody else encrypts. A piece that comes out is good until the next is asked for if his are. */
export async function* sealEnvelopeBy(
  encrypt: EncryptContent,
  content: AsyncIterable<Uint8Array>,
  options: SealOptions & { readonly encryption: object },
): AsyncGenerator<Uint8Array, SealedEnvelope> {
  const sealer = new EnvelopeSealer(options)
  const { keys } = sealer
  if (keys === null) throw new RangeError("dare: what is not encrypted is encrypted by nobody")
  await using encrypted = encrypt(keys, content)
  let payloadOctets = 0
  yield Buffer.concat([ascii("["), sealer.header, ascii(",")])
  for (;;) {
    const next = await encrypted.next()
    if (next.done) {
      const trailer = sealer.trailer(next.value)
      yield Buffer.concat([dataHead(0, true), ascii(","), trailer, ascii("]")])
      return { recipients: sealer.recipients, payloadOctets, payloadDigest: next.value, keys }
    }
    if (next.value.length === 0) continue
    payloadOctets += next.value.length
    yield dataHead(next.value.length, false)
    yield next.value
  }
}

/** An envelope around content of any length, in pieces. The same options and content give the same octets. */
export async function* sealEnvelope(
  content: AsyncIterable<Uint8Array>,
  options: SealOptions,
  form: EnvelopeForm,
): AsyncGenerator<Uint8Array, SealedEnvelope> {
  const sealer = new EnvelopeSealer(options)
  const payload = form === "json" ? textPayload() : dataPayload()
  let contentOctets = 0
  yield Buffer.concat([ascii("["), sealer.header, ascii(","), payload.begin])
  for await (const octets of content) {
    contentOctets += octets.length
    for (const piece of payload.update(sealer.update(octets))) if (piece.length > 0) yield piece
  }
  const last = [...payload.update(sealer.final()), payload.end()]
  const { payloadDigest, trailer } = sealer.end()
  yield Buffer.concat([...last, ascii(","), trailer, ascii("]")])
  const { recipients, keys } = sealer
  return { recipients, payloadOctets: sealer.payloadOctets(contentOctets), payloadDigest, keys }
}

/** An envelope around content that is at hand, whole. */
export function sealWhole(content: Uint8Array, options: SealOptions, form: EnvelopeForm): Uint8Array {
  const sealer = new EnvelopeSealer(options)
  const payload = form === "json" ? textPayload() : dataPayload()
  const begin = [ascii("["), sealer.header, ascii(","), payload.begin]
  const body = [...payload.update(sealer.update(content)), ...payload.update(sealer.final()), payload.end()]
  return joined([...begin, ...body, ascii(","), sealer.end().trailer, ascii("]")])
}

interface PayloadForm {
  readonly begin: Uint8Array
  update(octets: Uint8Array): readonly Uint8Array[]
  end(): Uint8Array
}

function textPayload(): PayloadForm {
  const encoder = new Base64UrlEncoder()
  return {
    begin: ascii('"'),
    update: (octets) => [encoder.update(octets)],
    end: () => Buffer.concat([encoder.final(), ascii('"')]),
  }
}

/** Each piece is one of JSON-B, and an empty one is the last. Its head stands apart, so that long content is not copied. */
function dataPayload(): PayloadForm {
  return {
    begin: new Uint8Array(0),
    update: (octets) => (octets.length === 0 ? [] : [dataHead(octets.length, false), octets]),
    end: () => dataHead(0, true),
  }
}

function seedOf({ encryption }: SealOptions): EnvelopeSeed {
  if (encryption === null) return null
  const { baseSeed, salt } = encryption.secrets
  return { base: { octets: baseSeed, labelPrefix: "" }, salt }
}

function encryptorOf(keys: ContentKeys | null): StreamCipher {
  if (keys === null) return { update: (octets) => octets, final: () => new Uint8Array(0) }
  return aesCbcEncryptor(keys.key, keys.iv)
}

function recipientsOf({ encryption }: SealOptions): Uint8Array {
  if (encryption === null) return new Uint8Array(0)
  return writeJson(encryption.recipients.map((recipient, index) => entryOf(recipient, index, encryption.secrets)))
}

function headerOf(options: SealOptions, seed: EnvelopeSeed, recipients: Uint8Array): Writable {
  const { annotations = [], contentMeta, header } = options
  return {
    ...header,
    enc: seed ? "A256CBC" : undefined,
    dig: "S512",
    Salt: seed?.salt,
    recipients: recipients.length > 0 ? verbatim(recipients) : undefined,
    annotations:
      annotations.length > 0 ? annotations.map((line, index) => writeAnnotation(line, index, seed)) : undefined,
    ContentMetaData: contentMeta === undefined ? undefined : writeJson(contentMeta),
  }
}

function entryOf(recipient: Recipient, index: number, secrets: EnvelopeSecrets): Writable {
  return recipientEntry(recipient, secrets.baseSeed, (octets) => secrets.ephemeral(index, octets))
}

/** Who signs what he has encrypted states with a witness that he knows the content. */
function trailerOf({ signers = [], trailer }: SealOptions, seed: EnvelopeSeed, payloadDigest: Uint8Array): Writable {
  const manifest = manifestOf(payloadDigest)
  const signed = signers.length > 0
  return {
    signatures: signed ? signers.map((signer) => signatureEntry(signer, manifest)) : undefined,
    WitnessValue: signed && seed ? witnessOf(seed.base, seed.salt, manifest) : undefined,
    PayloadDigest: payloadDigest,
    ...trailer?.(payloadDigest),
  }
}

function ascii(text: string): Uint8Array {
  return Buffer.from(text, "latin1")
}
