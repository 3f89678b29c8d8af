import { GatewayError } from "../../errors.ts"
import { hkdfSha256 } from "../primitives/hash.ts"
import { armored, armoredSize } from "./armor.ts"
import { pkesk, pkeskSize } from "./pkesk.ts"
import { type OpenPgpSecrets, protectedBody, protectedSize, type SeipdVersion } from "./protected-body.ts"
import type { OpenPgpRecipient } from "./recipient.ts"

export { type OpenPgpRecipient, openPgpRecipient } from "./recipient.ts"

/** What {@link encryptOpenPgp} needs beside the content. */
export interface OpenPgpOptions {
  /** Exact length of the content: it stands before it on the wire. */
  readonly contentOctets: number
  readonly recipients: readonly OpenPgpRecipient[]
  readonly secrets: OpenPgpSecrets
  /** 1 unless stated. 2 is for recipients who say that they read it. */
  readonly seipd?: SeipdVersion
}

/**
 * The secrets of one message from its seed (32 random octets), so that a repeated delivery writes the same octets again.
 * `context` must differ wherever the content does (recipient, format, header policy): the same key over two contents is broken.
 */
export function deriveOpenPgpSecrets(seed: Uint8Array, context: string): OpenPgpSecrets {
  const octets = hkdfSha256(seed, new Uint8Array(0), `postern/openpgp/1 ${context}`, 112)
  return {
    sessionKey: octets.subarray(0, 32),
    prefix: octets.subarray(32, 48),
    ephemeral: octets.subarray(48, 80),
    salt: octets.subarray(80, 112),
  }
}

/**
 * Exact length in octets of what {@link encryptOpenPgp} writes, armor and all.
 * @throws GatewayError OPENPGP_UNSUPPORTED when there is no recipient
 */
export function openPgpArmoredSize(
  contentOctets: number,
  recipients: readonly OpenPgpRecipient[],
  seipd: SeipdVersion = 1,
): number {
  checkRecipients(recipients)
  const keys = recipients.reduce((sum, recipient) => sum + pkeskSize(recipient, seipd), 0)
  return armoredOpenPgpSize(keys + protectedSize(seipd, contentOctets), seipd)
}

/** Octets of {@link armoredOpenPgp} for a message of so many. */
export function armoredOpenPgpSize(messageOctets: number, seipd: SeipdVersion = 1): number {
  return armoredSize(messageOctets, "MESSAGE", hasChecksum(seipd))
}

/** {@link openPgpMessage} in armor. @throws GatewayError as there */
export function encryptOpenPgp(
  content: AsyncIterable<Uint8Array>,
  options: OpenPgpOptions,
): AsyncGenerator<Uint8Array> {
  return armoredOpenPgp(openPgpMessage(content, options), options.seipd)
}

/** A message in armor, in as few pieces as it has. */
export function armoredOpenPgp(
  message: AsyncIterable<Uint8Array>,
  seipd: SeipdVersion = 1,
): AsyncGenerator<Uint8Array> {
  return armored(message, "MESSAGE", hasChecksum(seipd))
}

/**
 * Encrypts to the recipients: a message with a PKESK packet for each (version 3 before a SEIPD packet of version 1, 6 before one of version 2),
 * and the content as one literal packet in the SEIPD packet, in as few pieces as the content has. To Curve25519Legacy and X25519 keys alone the
 * result is a function of content and secrets; to other keys two runs differ.
 * @throws GatewayError LENGTH_MISMATCH when the content has another length; it is thrown before the last piece is given out
 * @throws GatewayError OPENPGP_UNSUPPORTED when there is no recipient, or the openpgp library refuses one
 */
export async function* openPgpMessage(
  content: AsyncIterable<Uint8Array>,
  options: OpenPgpOptions,
): AsyncGenerator<Uint8Array> {
  checkRecipients(options.recipients)
  const { contentOctets, seipd = 1 } = options
  const body = protectedBody(seipd, options.secrets)
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
      yield head ? Buffer.concat([head, encrypted]) : encrypted
      head = null
    }
    held = octets
  }
  if (received !== contentOctets) throw wrongLength(contentOctets)
  const parts: Uint8Array[] = head ? [head] : []
  if (held) parts.push(body.push(held))
  parts.push(body.end())
  yield Buffer.concat(parts)
}

async function keyPackets({ recipients, secrets, seipd = 1 }: OpenPgpOptions): Promise<Uint8Array> {
  const packets: Uint8Array[] = []
  for (const recipient of recipients) packets.push(await pkesk(recipient, secrets, seipd))
  return Buffer.concat(packets)
}

// RFC 9580 §6.1: none behind a SEIPD packet of version 2; before that, GnuPG of old days wants one.
function hasChecksum(seipd: SeipdVersion): boolean {
  return seipd === 1
}

function checkRecipients(recipients: readonly OpenPgpRecipient[]): void {
  if (recipients.length === 0) throw new GatewayError("OPENPGP_UNSUPPORTED", "openpgp: a message without recipients")
}

function wrongLength(contentOctets: number): GatewayError {
  return new GatewayError("LENGTH_MISMATCH", `openpgp: content is not ${contentOctets} octets long`)
}
