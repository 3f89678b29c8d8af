import { createPrivateKey, createPublicKey, decapsulate, encapsulate } from "node:crypto"
import { GatewayError } from "../../errors.ts"
import { X25519_OCTETS } from "./x25519.ts"

/** Octets of an encapsulated key, and of the shared secret: DHKEM(X25519, HKDF-SHA256), RFC 9180 §7.1. */
export const ENCAPSULATED_OCTETS = 32

/** One use of a public key: `encapsulated` goes with the message, `sharedSecret` is for both sides. */
export interface Encapsulation {
  readonly encapsulated: Uint8Array
  readonly sharedSecret: Uint8Array
}

/**
 * Encap of RFC 9180 §4.1 for one X25519 public key, kept ready for many messages: OpenSSL makes the ephemeral key, three times as
 * fast as putting one together from octets.
 * @throws GatewayError POINT_INVALID when the point is not 32 octets; the returned function throws it when its order is small
 */
export function x25519Encapsulator(point: Uint8Array): () => Encapsulation {
  if (point.length !== X25519_OCTETS) throw new GatewayError("POINT_INVALID", "seal key: point is not 32 octets")
  const key = createPublicKey({ key: Buffer.concat([SPKI_HEAD, point]), format: "der", type: "spki" })
  return () => {
    try {
      const { ciphertext, sharedKey } = encapsulate(key)
      return { encapsulated: new Uint8Array(ciphertext), sharedSecret: new Uint8Array(sharedKey) }
    } catch (cause) {
      throw new GatewayError("POINT_INVALID", "seal key: point is of small order", { cause })
    }
  }
}

/** Decap of RFC 9180 §4.1. Throws GatewayError POINT_INVALID where the octets are no usable point. */
export type Decapsulator = (encapsulated: Uint8Array) => Uint8Array

/**
 * Decap for one X25519 scalar (32 octets), kept ready for many messages.
 * @throws GatewayError SCALAR_INVALID
 */
export function x25519Decapsulator(scalar: Uint8Array): Decapsulator {
  if (scalar.length !== X25519_OCTETS) throw new GatewayError("SCALAR_INVALID", "seal key: scalar is not 32 octets")
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, scalar]), format: "der", type: "pkcs8" })
  return (encapsulated) => {
    try {
      return new Uint8Array(decapsulate(key, encapsulated))
    } catch (cause) {
      throw new GatewayError("POINT_INVALID", "seal key: encapsulated key is not usable", { cause })
    }
  }
}

// RFC 8410 §7 and §4.
const PKCS8_HEAD = Buffer.from("302e020100300506032b656e04220420", "hex")
const SPKI_HEAD = Buffer.from("302a300506032b656e032100", "hex")
