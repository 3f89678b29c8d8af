import { GatewayError } from "../../errors.ts"
import { nistOrder } from "../primitives/ec.ts"
import { hkdfSha512 } from "../primitives/hash.ts"
import { fromBigEndian, toBigEndian } from "../primitives/modular.ts"
import { type Seed, specifierOctets } from "../udf/seed.ts"
import type { CfrgCurve, Generation, NistCurve, PrivateKey } from "./key.ts"

/** Algorithm identifiers of seeds (draft-hallambaker-mesh-udf §4.5). RSA (8 to 13) and ML-KEM and ML-DSA (14 to 19) have no derivation that could be followed. */
export const ALGORITHM = {
  X25519: 1,
  X448: 2,
  Ed25519: 3,
  Ed448: 4,
  "P-256": 5,
  "P-384": 6,
  "P-521": 7,
} as const satisfies Record<CfrgCurve | NistCurve, number>

/**
 * The key of this name and on this curve that a seed stands for. Names are those of {@link profileKeyName}, or empty.
 *
 *     IKM = specifier || seed           2024: of a seed for several algorithms the specifier is that of the curve here
 *     OKM = HKDF-SHA-512(IKM, salt: none, info: specifier || name)
 *
 * X448 and Ed448 take 56 octets, X25519 and Ed25519 32; they are used as RFC 7748 and RFC 8032 say.
 * @throws GatewayError MESH_KEY_UNSUPPORTED for a seed that is for another algorithm
 */
export function deriveKey(seed: Seed, curve: CfrgCurve, name: string, generation: Generation): PrivateKey {
  const octets = keyingMaterial(seed, curve, name, generation, KEY_OCTETS[curve])
  return { kind: "seed", curve, octets }
}

/**
 * The same for a curve of NIST: d = (OKM mod (n-1)) + 1, big-endian, of 64 bits more than n has. As the text and the library have it; the
 * drafts' printed examples divide by the prime of the field instead.
 * @throws GatewayError MESH_KEY_UNSUPPORTED
 */
export function deriveNistKey(seed: Seed, curve: NistCurve, name: string, generation: Generation): Uint8Array {
  const { okmOctets, scalarOctets } = NIST[curve]
  const number = fromBigEndian(keyingMaterial(seed, curve, name, generation, okmOctets))
  return toBigEndian((number % (nistOrder(curve) - 1n)) + 1n, scalarOctets)
}

function keyingMaterial(
  seed: Seed,
  curve: CfrgCurve | NistCurve,
  name: string,
  generation: Generation,
  lengthOctets: number,
): Uint8Array {
  const algorithm = ALGORITHM[curve]
  if (isOfOneAlgorithm(seed.specifier) && seed.specifier !== algorithm)
    throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh key: seed is not for ${curve}`)
  const specifier = specifierOctets(generation === 2024 ? algorithm : seed.specifier)
  const info = Buffer.concat([specifierOctets(seed.specifier), Buffer.from(name)])
  return hkdfSha512(Buffer.concat([specifier, seed.octets]), "", info, lengthOctets)
}

/** Zero is any; those from 256 on are the seeds of profiles and activations. */
function isOfOneAlgorithm(specifier: number): boolean {
  return specifier > 0 && specifier < 0x100
}

const KEY_OCTETS: Readonly<Record<CfrgCurve, number>> = { X25519: 32, X448: 56, Ed25519: 32, Ed448: 56 }

/** 320, 448 and 592 bits. */
const NIST: Readonly<Record<NistCurve, { readonly okmOctets: number; readonly scalarOctets: number }>> = {
  "P-256": { okmOctets: 40, scalarOctets: 32 },
  "P-384": { okmOctets: 56, scalarOctets: 48 },
  "P-521": { okmOctets: 74, scalarOctets: 66 },
}
