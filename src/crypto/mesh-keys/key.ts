import type { EcCurve } from "../primitives/ec.ts"
import type { EdwardsCurve } from "../primitives/edwards.ts"
import type { MontgomeryCurve } from "../primitives/montgomery.ts"

/** The two states of the Mesh's code that are not compatible with each other: 2024 is written, both are read ([MESH.md](../../../docs/MESH.md)). */
export type Generation = 2022 | 2024

/** Curves by the names that `crv` has on the wire. */
export type CfrgCurve = MontgomeryCurve | EdwardsCurve
export type NistCurve = "P-256" | EcCurve

/**
 * A public key as `PublicKeyECDH` has it. Octets: Ed25519 32, Ed448 57; X25519 and X448 u alone (32, 56), or u and the sign of v (33, 57: the
 * extended form, without which nothing can be added to a key).
 */
export interface PublicKey {
  readonly curve: CfrgCurve
  readonly octets: Uint8Array
}

/**
 * A private key as `PrivateKeyECDH` has it. A *seed* is what RFC 7748 and RFC 8032 call the private key: clamped, or hashed, when it is used (Ed448
 * seeds of the Mesh have 56 octets, others 57). A *scalar* is a number modulo L, little-endian: a sum of keys or a share of one, and never clamped.
 */
export type PrivateKey =
  | { readonly kind: "seed"; readonly curve: CfrgCurve; readonly octets: Uint8Array }
  | { readonly kind: "scalar"; readonly curve: CfrgCurve; readonly octets: Uint8Array }

export function isMontgomery(curve: CfrgCurve): curve is MontgomeryCurve {
  return curve === "X25519" || curve === "X448"
}
