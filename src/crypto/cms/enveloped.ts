import { GatewayError } from "../../errors.ts"
import { aesCbcEncryptor, aesGcmEncryptor, BLOCK_OCTETS, type StreamCipher } from "../primitives/cipher.ts"
import { hkdfSha256 } from "../primitives/hash.ts"
import { p256ScalarFromSeed } from "../primitives/p256.ts"
import { elementSize, header, integer, octetString, oid, sequence, setOf } from "./der.ts"
import {
  type AgreedKey,
  agreeInfo,
  type CmsRecipient,
  hasOnlyKeyTransport,
  recipientInfo,
  recipientInfoSize,
} from "./recipient.ts"

/** Content encryption: EnvelopedData (RFC 5652 §6) with CBC, AuthEnvelopedData (RFC 5083, RFC 5084) with GCM. */
export type EnvelopeCipher = "aes-128-cbc" | "aes-256-cbc" | "aes-128-gcm" | "aes-256-gcm"

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
  readonly recipients: readonly CmsRecipient[]
  readonly secrets: EnvelopeSecrets
  readonly cipher: EnvelopeCipher
}

/** Whether a cipher authenticates, and so makes AuthEnvelopedData. */
export function isAuthenticated(cipher: EnvelopeCipher): boolean {
  return CIPHERS[cipher].authenticated
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
 * @throws GatewayError CERTIFICATE_UNSUPPORTED when there is no recipient
 */
export function envelopedSize(
  contentOctets: number,
  recipients: readonly CmsRecipient[],
  cipher: EnvelopeCipher,
): number {
  checkRecipients(recipients)
  const { keyOctets } = CIPHERS[cipher]
  const infos = recipients.reduce((sum, recipient) => sum + recipientInfoSize(recipient, keyOctets), 0)
  return layout(contentOctets, elementSize(infos), cipher).total
}

/**
 * Encrypts to the recipients: a DER ContentInfo, in as few pieces as the content has. Recipients on
 * P-256, P-384 and P-521 get a KeyAgreeRecipientInfo each with an ephemeral key of its own (RFC 5753), and for them the result is a function of
 * content and secrets alone. RSA recipients get a KeyTransRecipientInfo whose padding is random: there two runs differ.
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
  if (!isAuthenticated(name)) return { cipher: aesCbcEncryptor(key, secrets.iv), nonce: secrets.iv, tag: () => [] }
  const nonce = secrets.iv.subarray(0, GCM_NONCE_OCTETS)
  const cipher = aesGcmEncryptor(key, nonce)
  return { cipher, nonce, tag: () => [octetString(cipher.tag())] }
}

/** The content-encryption key. A message that changes its cipher between two attempts must not use one key for both (RFC 9709 §1). */
function cipherKey(secrets: EnvelopeSecrets, name: EnvelopeCipher): Uint8Array {
  if (name === "aes-256-cbc") return secrets.contentKey
  return hkdfSha256(secrets.contentKey, NO_SALT, `postern/cms/1 ${name}`, CIPHERS[name].keyOctets)
}

/** Everything before the encrypted content. */
function prefix(options: EnvelopeOptions, nonce: Uint8Array): Uint8Array {
  const { contentOctets, recipients, secrets, cipher } = options
  const key = cipherKey(secrets, cipher)
  const wrapping = { key, ephemeral: secrets.ephemeral }
  const infos = setOf(...recipients.map((recipient, index) => recipientInfo(recipient, index, wrapping)))
  return head(infos, version(recipients, cipher), layout(contentOctets, infos.length, cipher), cipher, nonce)
}

/**
 * What stands before an AES-256-CBC ciphertext that was made elsewhere, so that both are the EnvelopedData {@link encryptEnveloped} would have written:
 * the ciphertext is the last thing in it. `iv`: 16 octets.
 * @throws GatewayError CERTIFICATE_UNSUPPORTED for a recipient with whom no key can be agreed
 * @throws GatewayError LENGTH_MISMATCH when `ciphertextOctets` is no multiple of 16 from 16 on: CBC pads always (RFC 5652 §6.3)
 */
export function envelopedHead(
  recipient: CmsRecipient,
  agreed: AgreedKey,
  iv: Uint8Array,
  ciphertextOctets: number,
): Uint8Array {
  if (ciphertextOctets < BLOCK_OCTETS || ciphertextOctets % BLOCK_OCTETS !== 0)
    throw new GatewayError("LENGTH_MISMATCH", `cms: ${ciphertextOctets} octets are no ciphertext of AES-CBC`)
  const infos = setOf(agreeInfo(recipient, agreed))
  const sizes = layout(ciphertextOctets - 1, infos.length, "aes-256-cbc")
  return head(infos, integer(2), sizes, "aes-256-cbc", iv)
}

function head(
  infos: Uint8Array,
  version: Uint8Array,
  sizes: Layout,
  cipher: EnvelopeCipher,
  nonce: Uint8Array,
): Uint8Array {
  return Buffer.concat([
    header(0x30, sizes.contentInfo),
    isAuthenticated(cipher) ? AUTH_ENVELOPED_DATA : ENVELOPED_DATA,
    header(0xa0, sizes.explicit),
    header(0x30, sizes.enveloped),
    version,
    infos,
    header(0x30, sizes.encryptedContentInfo),
    DATA,
    contentAlgorithm(cipher, nonce),
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
  const cbc = !isAuthenticated(cipher)
  // RFC 5652 §6.3: CBC always pads, by one to sixteen octets.
  const encrypted = cbc ? contentOctets - (contentOctets % BLOCK_OCTETS) + BLOCK_OCTETS : contentOctets
  const encryptedContentInfo = DATA.length + CIPHERS[cipher].algorithmOctets + elementSize(encrypted)
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
function version(recipients: readonly CmsRecipient[], cipher: EnvelopeCipher): Uint8Array {
  return integer(!isAuthenticated(cipher) && !recipients.every(hasOnlyKeyTransport) ? 2 : 0)
}

// RFC 3565 §4.2: the IV; RFC 5084 §3.2: GCMParameters ::= SEQUENCE { aes-nonce, aes-ICVlen DEFAULT 12 }
function contentAlgorithm(cipher: EnvelopeCipher, nonce: Uint8Array): Uint8Array {
  const { algorithm, authenticated } = CIPHERS[cipher]
  const given = octetString(nonce)
  return sequence(algorithm, authenticated ? sequence(given, integer(BLOCK_OCTETS)) : given)
}

function checkRecipients(recipients: readonly CmsRecipient[]): void {
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
/** RFC 3565 §4.1, RFC 5084 §3.2. */
const CIPHERS = {
  "aes-128-cbc": contentCipherOf("2.16.840.1.101.3.4.1.2", 16, false),
  "aes-256-cbc": contentCipherOf("2.16.840.1.101.3.4.1.42", 32, false),
  "aes-128-gcm": contentCipherOf("2.16.840.1.101.3.4.1.6", 16, true),
  "aes-256-gcm": contentCipherOf("2.16.840.1.101.3.4.1.46", 32, true),
} as const

function contentCipherOf(identifier: string, keyOctets: number, authenticated: boolean) {
  const algorithm = oid(identifier)
  const parameters = authenticated
    ? elementSize(elementSize(GCM_NONCE_OCTETS) + integer(BLOCK_OCTETS).length)
    : elementSize(BLOCK_OCTETS)
  return { algorithm, keyOctets, authenticated, algorithmOctets: elementSize(algorithm.length + parameters) }
}
