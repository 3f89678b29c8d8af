import { meshVector } from "../crypto/mesh-vectors.ts"

interface PublishedSigner {
  readonly kid: string
  readonly alg: string
  readonly public_b64u?: string
}

/** A published signed envelope, put together again from its parts; the signer's key is enclosed, as it is where profiles are published. */
export function publishedEnvelope(name: string): Uint8Array {
  const { inputs, expected } = meshVector("signed_envelopes", name)
  const signatures = inputs.signers.map(({ kid, alg, public_b64u }: PublishedSigner, at: number) => ({
    alg,
    kid,
    SignatureKey: public_b64u && { PublicKeyECDH: { crv: "Ed448", Public: public_b64u } },
    signature: expected.signatures[at],
  }))
  const parts = [inputs.header, inputs.payload_b64u]
  const trailer = { signatures, PayloadDigest: expected.PayloadDigest }
  return new TextEncoder().encode(JSON.stringify("signatures" in inputs.header ? parts : [...parts, trailer]))
}
