import { sha256 } from "../primitives/hash.ts"
import { signP256 } from "../primitives/sign.ts"
import type { Certificate } from "./certificate.ts"
import { explicit, integer, nil, octetString, oid, sequence, setOf } from "./der.ts"

/** Who signs: an end entity's certificate, the P-256 scalar of its key, and the issuers that a verifier may lack (DER). */
export interface CmsSigner {
  readonly certificate: Certificate
  readonly scalar: Uint8Array
  readonly chain: readonly Uint8Array[]
}

/**
 * SignedData (RFC 5652 §5) with the content inside, signed with ECDSA and SHA-256 (RFC 5753 §2): a DER ContentInfo.
 * No signing time: whoever has the key can write any.
 * @throws GatewayError SCALAR_INVALID
 */
export function signCms(content: Uint8Array, signer: CmsSigner): Uint8Array {
  const signedData = sequence(
    integer(1),
    setOf(SHA256),
    sequence(DATA, explicit(0, octetString(content))),
    explicit(0, ...inOrder(signer.certificate.der, ...signer.chain)),
    setOf(signerInfo(content, signer)),
  )
  return sequence(SIGNED_DATA, explicit(0, signedData))
}

// RFC 5652 §5.3: version 1 names the signer by issuer and serial number.
function signerInfo(content: Uint8Array, { certificate, scalar }: CmsSigner): Uint8Array {
  const attributes = [
    sequence(CONTENT_TYPE, setOf(DATA)),
    sequence(MESSAGE_DIGEST, setOf(octetString(sha256(content)))),
  ]
  // §5.4: what is signed is the SET OF; what is written is the same under the tag [0].
  const signature = signP256(scalar, setOf(...attributes), "der")
  return sequence(
    integer(1),
    sequence(certificate.identity.issuer, integer(certificate.identity.serial)),
    SHA256,
    explicit(0, ...inOrder(...attributes)),
    ECDSA_WITH_SHA256,
    octetString(signature),
  )
}

/** The order of a SET OF in DER (X.690 §11.6), for one whose tag is implicit. */
function inOrder(...elements: readonly Uint8Array[]): readonly Uint8Array[] {
  return elements.toSorted((a, b) => Buffer.compare(a, b))
}

// RFC 5652 §4, §5.1, §11.1, §11.2; RFC 5754 §2.2; RFC 5758 §3.2.
const DATA = oid("1.2.840.113549.1.7.1")
const SIGNED_DATA = oid("1.2.840.113549.1.7.2")
const CONTENT_TYPE = oid("1.2.840.113549.1.9.3")
const MESSAGE_DIGEST = oid("1.2.840.113549.1.9.4")
const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"), nil())
const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
