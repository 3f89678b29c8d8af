import { GatewayError } from "../../errors.ts"
import { sha256 } from "../primitives/hash.ts"
import { unwrapKey } from "../primitives/keywrap.ts"
import { x25519SharedKey } from "../primitives/x25519.ts"
import type { OpenPgpEncryptionKey } from "./certificate.ts"
import { library } from "./library.ts"
import { PACKET, readPackets } from "./packet.ts"

/** A secret that may open a message: the subkey's public side, and a scalar (the account's, or a device's for a recrypted message). */
export interface OpenPgpOpeningKey {
  readonly encryption: OpenPgpEncryptionKey
  /** 32 octets, little-endian. */
  readonly scalar: Uint8Array
}

/**
 * Opens a binary OpenPGP message that a PKESK v3 packet addresses to the key. For the reader's side (export, demonstration): holds the
 * message whole. The gateway itself opens nothing.
 * @returns null when no PKESK is addressed to `key`
 * @throws GatewayError OPENPGP_MALFORMED, DECRYPTION_FAILED
 */
export async function openOpenPgp(message: Uint8Array, key: OpenPgpOpeningKey): Promise<Uint8Array | null> {
  const own = readPackets(message).find(
    ({ tag, body }) => tag === PACKET.pkesk && addressedTo(body, key.encryption.keyId),
  )
  if (!own) return null
  const sessionKey = unwrapSessionKey(own.body, key)
  const { decrypt, readMessage } = await library()
  try {
    const opened = await decrypt({
      message: await readMessage({ binaryMessage: message }),
      sessionKeys: [sessionKey],
      format: "binary",
    })
    return opened.data
  } catch {
    throw new GatewayError("DECRYPTION_FAILED", "openpgp: cannot open")
  }
}

// version(3), key id(8), algorithm(18)                       RFC 9580 §5.1.1
function addressedTo(body: Uint8Array, keyId: Uint8Array): boolean {
  return body[0] === 3 && body[9] === 18 && Buffer.compare(body.subarray(1, 9), keyId) === 0
}

/** MPI of 0x40 || point, length octet, wrapped key. RFC 6637 §8: KDF and padding. */
function unwrapSessionKey(
  body: Uint8Array,
  { encryption, scalar }: OpenPgpOpeningKey,
): { data: Uint8Array; algorithm: "aes128" | "aes192" | "aes256" } {
  const pointOctets = (((body[10] ?? 0) << 8) + (body[11] ?? 0) + 7) >> 3
  const point = body.subarray(12, 12 + pointOctets)
  const wrapped = body.subarray(13 + pointOctets, 13 + pointOctets + (body[12 + pointOctets] ?? 0))
  if (point[0] !== 0x40 || point.length !== 33 || encryption.kdfHash !== 8) throw malformed()
  const parameters = Buffer.concat([
    Buffer.from("0a2b060104019755010501", "hex"),
    Uint8Array.of(18, 3, 1, encryption.kdfHash, encryption.kdfCipher),
    Buffer.from("Anonymous Sender    ", "latin1"),
    encryption.fingerprint,
  ])
  const shared = x25519SharedKey(scalar, point.subarray(1))
  const kek = sha256(Buffer.concat([Uint8Array.of(0, 0, 0, 1), shared, parameters]))
  const padded = unwrapKey(kek.subarray(0, KEK_OCTETS[encryption.kdfCipher] ?? 32), wrapped)
  const octets = padded.subarray(0, padded.length - (padded.at(-1) ?? 0))
  const algorithm = CIPHERS[octets[0] ?? 0]
  if (!algorithm) throw malformed()
  return { algorithm, data: octets.subarray(1, -2) }
}

function malformed(): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", "openpgp: PKESK is malformed or not supported")
}

/** Symmetric algorithm ids, RFC 9580 §9.3. */
const CIPHERS: Readonly<Record<number, "aes128" | "aes192" | "aes256">> = { 7: "aes128", 8: "aes192", 9: "aes256" }
const KEK_OCTETS: Readonly<Record<number, number>> = { 7: 16, 8: 24, 9: 32 }
