import { p256Agreement, p256Decompress } from "../../src/crypto/primitives/p256.ts"
import { x25519SharedKey } from "../../src/crypto/primitives/x25519.ts"

/**
 * What the proxy does to a CMS message, in ten lines: the ephemeral point times the recryption scalar, the account's serial number
 * replaced by the device's. The octets must hold both once.
 */
export function recryptCms(der: Uint8Array, scalar: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array {
  const out = Buffer.from(der)
  // OriginatorPublicKey: BIT STRING of an uncompressed point.
  const at = out.indexOf(Buffer.from("03420004", "hex")) + 3
  const x = p256Agreement(scalar)(out.subarray(at, at + 65))
  out.set(p256Decompress(Buffer.concat([Uint8Array.of(2), x])), at)
  const serial = out.indexOf(from)
  if (at < 3 || serial < 0) throw new Error("not encrypted to this account")
  out.set(to, serial)
  return out
}

/** The same for a binary OpenPGP message to a Curve25519Legacy key: the ephemeral point alone. */
export function recryptOpenPgp(binary: Uint8Array, keyId: string, scalar: Uint8Array): Uint8Array {
  const out = Buffer.from(binary)
  const found = out.indexOf(Buffer.from(keyId, "hex"))
  // Key id, algorithm 18, MPI of 263 bits: 40 and the point.
  if (found < 0 || out.readUIntBE(found + 8, 4) !== 0x12010740) throw new Error("not encrypted to this account")
  const point = out.subarray(found + 12, found + 44)
  out.set(x25519SharedKey(scalar, point), found + 12)
  return out
}
