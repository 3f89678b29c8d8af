import { createPrivateKey, sign } from "node:crypto"
import { readFile } from "node:fs/promises"
import { readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { explicit, integer, octetString, oid, sequence, setOf } from "../../../src/crypto/cms/der.ts"
import { sha512 } from "../../../src/crypto/primitives/hash.ts"
import type { Made } from "../../harness/authority.ts"

/** SignedData by Ed25519 (RFC 8419), which OpenSSL 3.0 does not make, with these certificates; the content is not inside. */
export async function signedByEd25519(
  content: Uint8Array,
  signer: Made,
  certificates: readonly Uint8Array[] = [signer.der],
): Promise<Uint8Array> {
  const attributes = [
    sequence(oid("1.2.840.113549.1.9.3"), setOf(DATA)),
    sequence(oid("1.2.840.113549.1.9.4"), setOf(octetString(sha512(content)))),
  ].toSorted((a, b) => Buffer.compare(a, b))
  const key = createPrivateKey(await readFile(signer.keyFile))
  const { issuer, serial } = readCertificate(signer.der).identity
  const info = sequence(
    integer(1),
    sequence(issuer, integer(serial)),
    SHA512,
    explicit(0, ...attributes),
    sequence(oid("1.3.101.112")),
    octetString(sign(null, setOf(...attributes), key)),
  )
  const data = sequence(integer(1), setOf(SHA512), sequence(DATA), explicit(0, ...certificates), setOf(info))
  return sequence(oid("1.2.840.113549.1.7.2"), explicit(0, data))
}

const DATA = oid("1.2.840.113549.1.7.1")
const SHA512 = sequence(oid("2.16.840.1.101.3.4.2.3"))
