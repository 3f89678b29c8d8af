/** PURE */
import { keyOf } from "../crypto/dare/fields.ts"
import type { Signer } from "../crypto/dare/signature.ts"
import { type JsonValue, memberOf, objectOf, textOf } from "../crypto/jsonb/value.ts"
import type { Writable } from "../crypto/jsonb/write.ts"
import { fingerprintGeneration, keyUdf } from "../crypto/mesh-keys/fingerprint.ts"
import { type Generation, isMontgomery, type PrivateKey, type PublicKey } from "../crypto/mesh-keys/key.ts"
import { publicKeyOf, signerOf } from "../crypto/mesh-keys/use.ts"
import { parseUdf } from "../crypto/udf/udf.ts"
import { GatewayError } from "../errors.ts"
import { invalid, timeOf, writeTime } from "./object.ts"

/** A public key and what it is known by, which has been seen to agree. */
export interface NamedKey {
  readonly udf: string
  readonly key: PublicKey
  readonly generation: Generation
  readonly notBefore: Date | null
  readonly notOnOrAfter: Date | null
}

/**
 * Reads `KeyData { Udf, PublicParameters, NotBefore, NotOnOrAfter }` (draft-hallambaker-mesh-schema).
 * @throws GatewayError MESH_OBJECT_INVALID for a key of a kind that we do not know, and for a fingerprint of another key; UDF_MALFORMED, JSONB_TYPE
 */
export function keyDataOf(value: JsonValue, what: string): NamedKey {
  const object = objectOf(value, what)
  const key = memberOf(object, "PublicParameters", keyOf)
  const udf = memberOf(object, "Udf", textOf)
  if (key === null || udf === null || !KEY_OCTETS[key.curve].includes(key.octets.length))
    throw invalid(`${what} is no key that could be used`)
  const generation = fingerprintGeneration(parseUdf(udf), key)
  if (generation === null) throw invalid(`${what} has the fingerprint of another key`)
  return {
    udf,
    key,
    generation,
    notBefore: memberOf(object, "NotBefore", timeOf),
    notOnOrAfter: memberOf(object, "NotOnOrAfter", timeOf),
  }
}

/** The KeyData of a public key, as generation 2024 writes it. */
export function writeKeyData(key: PublicKey, notOnOrAfter: Date | null = null): Writable {
  return {
    Udf: keyUdf(key, 2024),
    PublicParameters: { PublicKeyECDH: { crv: key.curve, Public: key.octets } },
    NotOnOrAfter: notOnOrAfter === null ? undefined : writeTime(notOnOrAfter),
  }
}

/** @throws GatewayError MESH_EXPIRED when the key may not be used at this time */
export function checkTime({ notBefore, notOnOrAfter }: NamedKey, now: Date): void {
  if ((notBefore && now < notBefore) || (notOnOrAfter && now >= notOnOrAfter))
    throw new GatewayError("MESH_EXPIRED", "mesh: key may not be used at this time")
}

/** Who signs with this key. @throws GatewayError MESH_KEY_UNSUPPORTED for one that cannot sign */
export function signerWith(key: PrivateKey): Signer {
  const publicKey = publicKeyOf(key)
  const sign = signerOf(key)
  if (isMontgomery(key.curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh: ${key.curve} does not sign`)
  return { kid: keyUdf(publicKey, 2024), curve: key.curve, sign }
}

/** X448 and X25519 keys may stand there without the sign of v. */
const KEY_OCTETS: Readonly<Record<PublicKey["curve"], readonly number[]>> = {
  Ed25519: [32],
  Ed448: [57],
  X25519: [32, 33],
  X448: [56, 57],
}
