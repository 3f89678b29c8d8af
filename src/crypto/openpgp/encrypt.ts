import { GatewayError } from "../../errors.ts"
import { aes256CfbEncryptor, BLOCK_OCTETS, type StreamCipher } from "../primitives/cipher.ts"
import { type Digest, digestOf, hkdfSha256 } from "../primitives/hash.ts"
import { ArmorEncoder, armoredSize } from "./armor.ts"
import { PACKET, packetHeader, packetSize } from "./packet.ts"
import { type OpenPgpRecipient, pkesk, pkeskSize } from "./recipient.ts"

export { type OpenPgpRecipient, openPgpRecipient } from "./recipient.ts"

/** Everything secret in one message. Equal secrets may only ever meet equal content. */
export interface OpenPgpSecrets {
  /** AES-256, 32 octets. */
  readonly sessionKey: Uint8Array
  /** What the plaintext begins with (RFC 9580 §5.13.1), 16 octets. */
  readonly prefix: Uint8Array
  /** What the recipients' ephemeral keys are derived from, 32 octets. */
  readonly ephemeral: Uint8Array
}

/** What {@link encryptOpenPgp} needs beside the content. */
export interface OpenPgpOptions {
  /** Exact length of the content: it stands before it on the wire. */
  readonly contentOctets: number
  readonly recipients: readonly OpenPgpRecipient[]
  readonly secrets: OpenPgpSecrets
}

/**
 * The secrets of one message from its seed (32 random octets), so that a repeated delivery writes the same octets again.
 * `context` must differ wherever the content does (recipient, format, header policy): the same key over two contents is broken.
 */
export function deriveOpenPgpSecrets(seed: Uint8Array, context: string): OpenPgpSecrets {
  const octets = hkdfSha256(seed, new Uint8Array(0), `postern/openpgp/1 ${context}`, 80)
  return { sessionKey: octets.subarray(0, 32), prefix: octets.subarray(32, 48), ephemeral: octets.subarray(48, 80) }
}

/**
 * Exact length in octets of what {@link encryptOpenPgp} writes, armor and all.
 * @throws GatewayError OPENPGP_UNSUPPORTED when there is no recipient
 */
export function openPgpArmoredSize(contentOctets: number, recipients: readonly OpenPgpRecipient[]): number {
  checkRecipients(recipients)
  const keys = recipients.reduce((sum, recipient) => sum + pkeskSize(recipient), 0)
  return armoredSize(keys + packetSize(protectedOctets(contentOctets)), "MESSAGE")
}

/**
 * Encrypts to the recipients: an armored message with a PKESK packet of version 3 each, and the content as one literal packet in a SEIPD packet
 * of version 1 (AES-256, SHA-1 MDC), in as few pieces as the content has. To Curve25519Legacy keys alone the result is a function of content and
 * secrets; to other keys two runs differ.
 * @throws GatewayError LENGTH_MISMATCH when the content has another length; it is thrown before the last piece is given out
 * @throws GatewayError OPENPGP_UNSUPPORTED when there is no recipient, or the openpgp library refuses one
 */
export async function* encryptOpenPgp(
  content: AsyncIterable<Uint8Array>,
  options: OpenPgpOptions,
): AsyncGenerator<Uint8Array> {
  checkRecipients(options.recipients)
  const { contentOctets } = options
  const armor = new ArmorEncoder("MESSAGE")
  const body = new ProtectedBody(options.secrets)
  let head: Uint8Array | null = Buffer.concat([await keyPackets(options), body.start(contentOctets)])
  // One piece is held back: the message must not look complete before the content is known to be.
  let held: Uint8Array | null = null
  let received = 0
  for await (const octets of content) {
    if (octets.length === 0) continue
    received += octets.length
    if (received > contentOctets) throw wrongLength(contentOctets)
    if (held) {
      const encrypted = body.push(held)
      yield armor.push(head ? Buffer.concat([head, encrypted]) : encrypted)
      head = null
    }
    held = octets
  }
  if (received !== contentOctets) throw wrongLength(contentOctets)
  const parts: Uint8Array[] = head ? [head] : []
  if (held) parts.push(body.push(held))
  parts.push(body.end())
  yield Buffer.concat([armor.push(Buffer.concat(parts)), armor.end()])
}

/** Content of a SEIPD packet of version 1 (RFC 9580 §5.13.1): random prefix, literal packet, MDC packet; all of it in CFB. */
class ProtectedBody {
  readonly #cipher: StreamCipher
  readonly #mdc: Digest
  readonly #prefix: Uint8Array

  constructor({ sessionKey, prefix }: OpenPgpSecrets) {
    this.#cipher = aes256CfbEncryptor(sessionKey, new Uint8Array(BLOCK_OCTETS))
    this.#mdc = digestOf("sha1")
    this.#prefix = prefix
  }

  /** The SEIPD packet's header, its version, and everything encrypted before the content. */
  start(contentOctets: number): Uint8Array {
    const plaintext = Buffer.concat([
      this.#prefix,
      this.#prefix.subarray(BLOCK_OCTETS - 2),
      packetHeader(PACKET.literal, LITERAL_HEAD.length + contentOctets),
      LITERAL_HEAD,
    ])
    const header = packetHeader(PACKET.seipd, protectedOctets(contentOctets))
    return Buffer.concat([header, Uint8Array.of(1), this.push(plaintext)])
  }

  push(octets: Uint8Array): Uint8Array {
    this.#mdc.update(octets)
    return this.#cipher.update(octets)
  }

  // RFC 9580 §5.14: the digest covers the MDC packet's own header.
  end(): Uint8Array {
    const digest = this.#mdc.update(MDC_HEAD).digest()
    return Buffer.concat([this.#cipher.update(MDC_HEAD), this.#cipher.update(digest), this.#cipher.final()])
  }
}

async function keyPackets({ recipients, secrets }: OpenPgpOptions): Promise<Uint8Array> {
  const packets: Uint8Array[] = []
  for (const recipient of recipients) packets.push(await pkesk(recipient, secrets.sessionKey, secrets.ephemeral))
  return Buffer.concat(packets)
}

/** Octets of the body of the SEIPD packet. */
function protectedOctets(contentOctets: number): number {
  const literal = packetSize(LITERAL_HEAD.length + contentOctets)
  return 1 + BLOCK_OCTETS + 2 + literal + MDC_HEAD.length + SHA1_OCTETS
}

function checkRecipients(recipients: readonly OpenPgpRecipient[]): void {
  if (recipients.length === 0) throw new GatewayError("OPENPGP_UNSUPPORTED", "openpgp: a message without recipients")
}

function wrongLength(contentOctets: number): GatewayError {
  return new GatewayError("LENGTH_MISMATCH", `openpgp: content is not ${contentOctets} octets long`)
}

/** RFC 9580 §5.9: binary, no file name, no date (a repeated delivery must write the same octets). */
const LITERAL_HEAD = Uint8Array.of(0x62, 0, 0, 0, 0, 0)
/** RFC 9580 §5.14: always this length, always this form. */
const MDC_HEAD = Uint8Array.of(0xd3, 0x14)
const SHA1_OCTETS = 20
