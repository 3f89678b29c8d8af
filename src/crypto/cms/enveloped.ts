import { GatewayError } from "../../errors.ts"
import { aes256CbcEncryptor, aes256GcmEncryptor, BLOCK_OCTETS, type StreamCipher } from "../primitives/cipher.ts"
import { hkdfSha256 } from "../primitives/hash.ts"
import { p256ScalarFromSeed } from "../primitives/p256.ts"
import type { Certificate } from "./certificate.ts"
import { elementSize, header, integer, octetString, oid, sequence, setOf } from "./der.ts"
import { hasOnlyKeyTransport, recipientInfo, recipientInfoSize } from "./recipient.ts"

/** Content encryption: EnvelopedData (RFC 5652 §6) with CBC, AuthEnvelopedData (RFC 5083, RFC 5084) with GCM. */
export type EnvelopeCipher = "aes-256-cbc" | "aes-256-gcm"

/** Everything secret in one envelope. Equal secrets may only ever meet equal content. */
export interface EnvelopeSecrets {
  /** 32 octets. */
  readonly contentKey: Uint8Array
  /** 16 octets; GCM takes the first 12. */
  readonly iv: Uint8Array
  /** P-256 scalar of the first recipient's ephemeral key; those of further recipients are derived from it. */
  readonly ephemeral: Uint8Array
}

/** What {@link encryptEnveloped} needs beside the content. */
export interface EnvelopeOptions {
  /** Exact length of the content: it stands before it on the wire. */
  readonly contentOctets: number
  readonly recipients: readonly Certificate[]
  readonly secrets: EnvelopeSecrets
  readonly cipher: EnvelopeCipher
}

/**
 * The secrets of one envelope from a message's seed (32 random octets), so that a repeated delivery writes the same octets again.
 * `context` must differ wherever the content does (recipient, format, header policy): the same key over two contents is broken.
 */
export function deriveEnvelopeSecrets(seed: Uint8Array, context: string): EnvelopeSecrets {
  const octets = hkdfSha256(seed, NO_SALT, `postern/cms/1 ${context}`, 96)
  return {
    contentKey: octets.subarray(0, 32),
    iv: octets.subarray(32, 48),
    ephemeral: p256ScalarFromSeed(octets.subarray(48, 96)),
  }
}

/**
 * Exact length in octets of what {@link encryptEnveloped} writes.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for a recipient whose key is neither P-256 nor RSA, or when there is no recipient
 */
export function envelopedSize(
  contentOctets: number,
  recipients: readonly Certificate[],
  cipher: EnvelopeCipher,
): number {
  checkRecipients(recipients)
  const infos = recipients.reduce((sum, recipient) => sum + recipientInfoSize(recipient), 0)
  return layout(contentOctets, elementSize(infos), cipher).total
}

/**
 * Encrypts to the recipients' certificates: a DER ContentInfo, in as few pieces as the content has. P-256 recipients get a
 * KeyAgreeRecipientInfo each with an ephemeral key of its own (RFC 5753), and for them the result is a function of content and
 * secrets alone. RSA recipients get a KeyTransRecipientInfo whose PKCS#1 v1.5 padding is random: there two runs differ.
 * @throws GatewayError LENGTH_MISMATCH when the content has another length; it is thrown before the last piece is given out
 * @throws GatewayError CERTIFICATE_UNSUPPORTED as {@link envelopedSize}
 */
export async function* encryptEnveloped(
  content: AsyncIterable<Uint8Array>,
  options: EnvelopeOptions,
): AsyncGenerator<Uint8Array> {
  checkRecipients(options.recipients)
  const { cipher, nonce, tag } = contentCipher(options.secrets, options.cipher)
  let head: Uint8Array | null = prefix(options, nonce)
  // One piece is held back: the envelope must not look complete before the content is known to be.
  let held: Uint8Array | null = null
  let received = 0
  for await (const octets of content) {
    if (octets.length === 0) continue
    received += octets.length
    if (received > options.contentOctets) throw wrongLength(options.contentOctets)
    if (held) {
      const body = cipher.update(held)
      yield head ? Buffer.concat([head, body]) : body
      head = null
    }
    held = octets
  }
  if (received !== options.contentOctets) throw wrongLength(options.contentOctets)
  const parts: Uint8Array[] = head ? [head] : []
  if (held) parts.push(cipher.update(held))
  parts.push(cipher.final(), ...tag())
  yield Buffer.concat(parts)
}

interface ContentCipher {
  readonly cipher: StreamCipher
  /** What the algorithm identifier carries: initialization vector or nonce. */
  readonly nonce: Uint8Array
  /** What follows the content; only after `final()`. */
  readonly tag: () => readonly Uint8Array[]
}

function contentCipher(secrets: EnvelopeSecrets, name: EnvelopeCipher): ContentCipher {
  const key = cipherKey(secrets, name)
  if (name === "aes-256-cbc") return { cipher: aes256CbcEncryptor(key, secrets.iv), nonce: secrets.iv, tag: () => [] }
  const nonce = secrets.iv.subarray(0, GCM_NONCE_OCTETS)
  const cipher = aes256GcmEncryptor(key, nonce)
  return { cipher, nonce, tag: () => [octetString(cipher.tag())] }
}

/** The content-encryption key. A message that changes from CBC to GCM between two attempts must not use one key for both. */
function cipherKey(secrets: EnvelopeSecrets, name: EnvelopeCipher): Uint8Array {
  if (name === "aes-256-cbc") return secrets.contentKey
  return hkdfSha256(secrets.contentKey, NO_SALT, "postern/cms/1 aes-256-gcm", 32)
}

/** Everything before the encrypted content. */
function prefix(options: EnvelopeOptions, nonce: Uint8Array): Uint8Array {
  const { contentOctets, recipients, secrets, cipher } = options
  const key = cipherKey(secrets, cipher)
  const infos = setOf(...recipients.map((recipient, index) => recipientInfo(recipient, index, key, secrets.ephemeral)))
  const sizes = layout(contentOctets, infos.length, cipher)
  return Buffer.concat([
    header(0x30, sizes.contentInfo),
    cipher === "aes-256-cbc" ? ENVELOPED_DATA : AUTH_ENVELOPED_DATA,
    header(0xa0, sizes.explicit),
    header(0x30, sizes.enveloped),
    version(recipients, cipher),
    infos,
    header(0x30, sizes.encryptedContentInfo),
    DATA,
    cipher === "aes-256-cbc" ? cbcAlgorithm(nonce) : gcmAlgorithm(nonce),
    header(0x80, sizes.encrypted),
  ])
}

interface Layout {
  readonly encrypted: number
  readonly encryptedContentInfo: number
  readonly enveloped: number
  readonly explicit: number
  readonly contentInfo: number
  readonly total: number
}

/** Content lengths of the nested elements, from the inside out. */
function layout(contentOctets: number, infosOctets: number, cipher: EnvelopeCipher): Layout {
  const cbc = cipher === "aes-256-cbc"
  // RFC 5652 §6.3: CBC always pads, by one to sixteen octets.
  const encrypted = cbc ? contentOctets - (contentOctets % BLOCK_OCTETS) + BLOCK_OCTETS : contentOctets
  const encryptedContentInfo =
    DATA.length + (cbc ? CBC_ALGORITHM_OCTETS : GCM_ALGORITHM_OCTETS) + elementSize(encrypted)
  const mac = cbc ? 0 : elementSize(BLOCK_OCTETS)
  const enveloped = VERSION_OCTETS + infosOctets + elementSize(encryptedContentInfo) + mac
  const explicitOctets = elementSize(enveloped)
  const type = cbc ? ENVELOPED_DATA.length : AUTH_ENVELOPED_DATA.length
  const contentInfo = type + elementSize(explicitOctets)
  return {
    encrypted,
    encryptedContentInfo,
    enveloped,
    explicit: explicitOctets,
    contentInfo,
    total: elementSize(contentInfo),
  }
}

// RFC 5652 §6.1: 2 as soon as one recipient is not of version 0; RFC 5083 §2.1: always 0.
function version(recipients: readonly Certificate[], cipher: EnvelopeCipher): Uint8Array {
  return integer(cipher === "aes-256-cbc" && !recipients.every(hasOnlyKeyTransport) ? 2 : 0)
}

function cbcAlgorithm(iv: Uint8Array): Uint8Array {
  return sequence(AES256_CBC, octetString(iv))
}

// RFC 5084 §3.2: GCMParameters ::= SEQUENCE { aes-nonce, aes-ICVlen DEFAULT 12 }
function gcmAlgorithm(nonce: Uint8Array): Uint8Array {
  return sequence(AES256_GCM, sequence(octetString(nonce), integer(BLOCK_OCTETS)))
}

function checkRecipients(recipients: readonly Certificate[]): void {
  // RFC 5652 §6.1: RecipientInfos ::= SET SIZE (1..MAX)
  if (recipients.length === 0) throw new GatewayError("CERTIFICATE_UNSUPPORTED", "cms: an envelope without recipients")
}

function wrongLength(contentOctets: number): GatewayError {
  return new GatewayError("LENGTH_MISMATCH", `cms: content is not ${contentOctets} octets long`)
}

const NO_SALT = new Uint8Array(0)
/** RFC 5084 §3.2 recommends 12, and NIST SP 800-38D needs no other. */
const GCM_NONCE_OCTETS = 12
const VERSION_OCTETS = 3
const DATA = oid("1.2.840.113549.1.7.1")
const ENVELOPED_DATA = oid("1.2.840.113549.1.7.3")
const AUTH_ENVELOPED_DATA = oid("1.2.840.113549.1.9.16.1.23")
const AES256_CBC = oid("2.16.840.1.101.3.4.1.42")
const AES256_GCM = oid("2.16.840.1.101.3.4.1.46")
const CBC_ALGORITHM_OCTETS = cbcAlgorithm(new Uint8Array(BLOCK_OCTETS)).length
const GCM_ALGORITHM_OCTETS = gcmAlgorithm(new Uint8Array(GCM_NONCE_OCTETS)).length
