import { sha256 } from "../primitives/hash.ts"
import { signP256 } from "../primitives/sign.ts"
import type { Certificate } from "./certificate.ts"
import { elementSize, explicit, header, integer, nil, octetString, oid, sequence, setOf, TAG } from "./der.ts"

/** Who signs: an end entity's certificate, the P-256 scalar of its key, and the issuers that a verifier may lack (DER). */
export interface CmsSigner {
  readonly certificate: Certificate
  readonly scalar: Uint8Array
  readonly chain: readonly Uint8Array[]
}

/** A key that signs, wherever it is kept. */
export interface CmsSigningKey {
  /** Both with SHA-256: ECDSA (RFC 5758 §3.2), RSASSA-PKCS1-v1_5 (RFC 5754 §3.2). */
  readonly algorithm: "ecdsa" | "rsa"
  /** The signature over `octets` (not their digest), of ECDSA as Ecdsa-Sig-Value. */
  sign(octets: Uint8Array): Promise<Uint8Array>
}

/** Who signs with a key that is kept elsewhere. */
export interface CmsIdentity {
  readonly certificate: Certificate
  /** DER of the issuers that a verifier may lack. */
  readonly chain: readonly Uint8Array[]
  readonly key: CmsSigningKey
}

/** What stands before and behind the content of a SignedData that has its content inside. */
export interface SignedFrame {
  readonly before: Uint8Array
  readonly after: Uint8Array
}

/**
 * SignedData (RFC 5652 §5) with the content inside, signed with ECDSA and SHA-256 (RFC 5753 §2): a DER ContentInfo.
 * No signing time: whoever has the key can write any.
 * @throws GatewayError SCALAR_INVALID
 */
export function signCms(content: Uint8Array, { certificate, scalar, chain }: CmsSigner): Uint8Array {
  const attributes = attributesOver(sha256(content))
  const info = signerInfo(certificate, attributes, "ecdsa", signP256(scalar, attributes, "der"))
  const { before, after } = frame(content.length, [certificate.der, ...chain], info)
  return Buffer.concat([before, content, after])
}

/** SignedData over content that stands elsewhere (RFC 8551 §3.5.3): a DER ContentInfo. `digest`: SHA-256 of the content. */
export async function detachedSignature(digest: Uint8Array, identity: CmsIdentity): Promise<Uint8Array> {
  const parts = [sequence(DATA), certificates(identity), setOf(await infoOf(digest, identity))]
  return sequence(SIGNED_DATA, explicit(0, sequence(integer(1), setOf(SHA256), ...parts)))
}

/** SignedData with content of `contentOctets` inside, which the caller writes between. `digest`: SHA-256 of the content. */
export async function signedFrame(
  digest: Uint8Array,
  contentOctets: number,
  identity: CmsIdentity,
): Promise<SignedFrame> {
  return frame(contentOctets, [identity.certificate.der, ...identity.chain], await infoOf(digest, identity))
}

async function infoOf(digest: Uint8Array, { certificate, key }: CmsIdentity): Promise<Uint8Array> {
  const attributes = attributesOver(digest)
  return signerInfo(certificate, attributes, key.algorithm, await key.sign(attributes))
}

/** §5.4: what is signed is this SET OF; what is written is the same under the tag [0]. */
function attributesOver(digest: Uint8Array): Uint8Array {
  return setOf(sequence(CONTENT_TYPE, setOf(DATA)), sequence(MESSAGE_DIGEST, setOf(octetString(digest))))
}

// RFC 5652 §5.3: version 1 names the signer by issuer and serial number.
function signerInfo(
  { identity }: Certificate,
  attributes: Uint8Array,
  algorithm: CmsSigningKey["algorithm"],
  signature: Uint8Array,
): Uint8Array {
  return sequence(
    integer(1),
    sequence(identity.issuer, integer(identity.serial)),
    SHA256,
    Buffer.concat([Uint8Array.of(SIGNED_ATTRIBUTES), attributes.subarray(1)]),
    algorithm === "ecdsa" ? ECDSA_WITH_SHA256 : RSA_ENCRYPTION,
    octetString(signature),
  )
}

function frame(contentOctets: number, ders: readonly Uint8Array[], info: Uint8Array): SignedFrame {
  const algorithms = Buffer.concat([integer(1), setOf(SHA256)])
  const after = Buffer.concat([explicit(0, ...inOrder(ders)), setOf(info)])
  const octets = elementSize(contentOctets)
  const encapsulated = DATA.length + elementSize(octets)
  const signedData = algorithms.length + elementSize(encapsulated) + after.length
  const before = Buffer.concat([
    header(TAG.sequence, SIGNED_DATA.length + elementSize(elementSize(signedData))),
    SIGNED_DATA,
    header(EXPLICIT, elementSize(signedData)),
    header(TAG.sequence, signedData),
    algorithms,
    header(TAG.sequence, encapsulated),
    DATA,
    header(EXPLICIT, octets),
    header(TAG.octetString, contentOctets),
  ])
  return { before, after }
}

function certificates({ certificate, chain }: CmsIdentity): Uint8Array {
  return explicit(0, ...inOrder([certificate.der, ...chain]))
}

/** The order of a SET OF in DER (X.690 §11.6), for one whose tag is implicit. */
function inOrder(elements: readonly Uint8Array[]): readonly Uint8Array[] {
  return elements.toSorted((a, b) => Buffer.compare(a, b))
}

const EXPLICIT = 0xa0
const SIGNED_ATTRIBUTES = 0xa0
// RFC 5652 §4, §5.1, §11.1, §11.2; RFC 5754 §2.2 and §3.2; RFC 5758 §3.2.
const DATA = oid("1.2.840.113549.1.7.1")
const SIGNED_DATA = oid("1.2.840.113549.1.7.2")
const CONTENT_TYPE = oid("1.2.840.113549.1.9.3")
const MESSAGE_DIGEST = oid("1.2.840.113549.1.9.4")
const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"), nil())
const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
const RSA_ENCRYPTION = sequence(oid("1.2.840.113549.1.1.1"), nil())
