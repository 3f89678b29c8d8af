import type { OpeningKey, Recipient } from "../../../src/crypto/dare/agreement.ts"
import { openingKey } from "../../../src/crypto/dare/agreement.ts"
import { deriveEnvelopeSecrets } from "../../../src/crypto/dare/seal.ts"
import type { Signer } from "../../../src/crypto/dare/signature.ts"
import { keyUdf } from "../../../src/crypto/mesh-keys/fingerprint.ts"
import type { PrivateKey, PublicKey } from "../../../src/crypto/mesh-keys/key.ts"
import { publicKeyOf, signerOf } from "../../../src/crypto/mesh-keys/use.ts"
import type { EdwardsCurve } from "../../../src/crypto/primitives/edwards.ts"
import type { MontgomeryCurve } from "../../../src/crypto/primitives/montgomery.ts"
import { symmetricKeyId } from "../../../src/crypto/udf/symmetric.ts"

/** Somebody whom envelopes are for, and what opens them. */
export interface Reader {
  readonly recipient: Recipient
  readonly key: OpeningKey
}

/** Keys of octets that are all `fill`: the same in every run. */
export function reader(curve: MontgomeryCurve | "symmetric", fill = 1): Reader {
  if (curve === "symmetric") {
    const octets = new Uint8Array(32).fill(fill)
    const holder = { kind: "symmetric", kid: symmetricKeyId(octets), key: octets } as const
    return { recipient: holder, key: holder }
  }
  const key: PrivateKey = { kind: "seed", curve, octets: new Uint8Array(curve === "X25519" ? 32 : 56).fill(fill) }
  const { octets } = publicKeyOf(key)
  const kid = keyUdf({ curve, octets }, 2024)
  return { recipient: { kind: "agreement", kid, key: { curve, octets } }, key: openingKey(kid, key) }
}

export interface Writer {
  readonly signer: Signer
  readonly publicKey: PublicKey
}

export function writer(curve: EdwardsCurve, fill = 2): Writer {
  const key: PrivateKey = { kind: "seed", curve, octets: new Uint8Array(curve === "Ed25519" ? 32 : 56).fill(fill) }
  const publicKey = publicKeyOf(key)
  return { signer: { kid: keyUdf(publicKey, 2024), curve, sign: signerOf(key) }, publicKey }
}

/** Encryption to these readers with secrets that are the same in every run. */
export function encryptionTo(...readers: readonly Reader[]) {
  const secrets = deriveEnvelopeSecrets(new Uint8Array(32).fill(3), "test")
  return { recipients: readers.map(({ recipient }) => recipient), secrets }
}
