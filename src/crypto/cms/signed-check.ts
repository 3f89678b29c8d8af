import { isSignedBy, type SignatureScheme } from "../primitives/signature-check.ts"
import { signatureScheme } from "../x509/signed-object.ts"
import type { Certificate } from "./certificate.ts"
import { childrenOf, hex, octetsOf, oid, readWhole, TAG } from "./der.ts"
import type { SignerIdentifier, SignerInfo } from "./signed-data.ts"

/** What became of checking a signature. `because`: one clause for people. */
export type SignatureChecked =
  | { readonly kind: "good" }
  | { readonly kind: "wrong" | "refused" | "malformed"; readonly because: string }

/**
 * Whether `signer` signed content with this digest and of this type (RFC 5652 §5.6). A signature over the content itself, without signed attributes, is
 * refused: it can be made of another one, whose attributes are then taken for content.
 * @param digest of the content, by the algorithm that `signer` names
 * @throws GatewayError DER_SYNTAX
 */
export function checkSigner(
  signer: SignerInfo,
  contentType: string,
  digest: Uint8Array,
  { subjectPublicKeyInfo }: Certificate,
): SignatureChecked {
  const { attributes } = signer
  if (attributes === null) return { kind: "refused", because: "the signature has no signed attributes" }
  if (attributes.messageDigest === null || attributes.contentType !== contentType)
    return { kind: "malformed", because: "the signed attributes lack what they must hold" }
  if (Buffer.compare(attributes.messageDigest, digest) !== 0)
    return { kind: "wrong", because: "the content was altered after it was signed" }
  const known = schemeOf(signer)
  if (known.kind === "refused") return { kind: "refused", because: `it is signed with ${known.name}` }
  const isRight = isSignedBy(subjectPublicKeyInfo, known.scheme, attributes.signed, signer.signature)
  return isRight ? { kind: "good" } : { kind: "wrong", because: "the signature is wrong" }
}

/** The certificate that is meant, among these; null: it is not there. */
export function identified(identifier: SignerIdentifier, certificates: readonly Certificate[]): Certificate | null {
  return (
    certificates.find(({ identity }) =>
      identifier.kind === "issuer"
        ? equal(identity.issuer, identifier.issuer) && equal(identity.serial, identifier.serial)
        : identity.subjectKeyIdentifier !== null && equal(identity.subjectKeyIdentifier, identifier.keyIdentifier),
    ) ?? null
  )
}

// RFC 5754 §3.2, RFC 5753 §2.1.1: some name the kind of key only; then the hash is that of the digest.
function schemeOf({ algorithm, digest }: SignerInfo): ReturnType<typeof signatureScheme> {
  const [name] = childrenOf(algorithm, readWhole(algorithm, 0, algorithm.length, TAG.sequence))
  const bare = name === undefined || digest === null ? undefined : BARE.get(hex(octetsOf(algorithm, name)))
  return bare === undefined || digest === null
    ? signatureScheme(algorithm)
    : { kind: "scheme", scheme: { kind: bare, hash: digest } satisfies SignatureScheme }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** rsaEncryption, id-ecPublicKey */
const BARE: ReadonlyMap<string, "rsa" | "ecdsa"> = new Map([
  [hex(oid("1.2.840.113549.1.1.1")), "rsa"],
  [hex(oid("1.2.840.10045.2.1")), "ecdsa"],
])
