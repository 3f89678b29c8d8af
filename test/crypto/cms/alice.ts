import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { serialNumber, type Terms } from "../../../src/crypto/cms/certificate-writer.ts"
import { issueEndEntity, issueIntermediate, issueRoot, type KeyPurpose } from "../../../src/crypto/cms/issue.ts"
import { p256PublicPoint, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"

/** A person with authority, for tests of certificates. */
export interface Person {
  readonly address: string
  readonly name: string
  readonly root: Certificate
  readonly rootScalar: Uint8Array
  readonly intermediate: Certificate
  readonly intermediateScalar: Uint8Array
}

/** A key with its certificate. */
export interface Holder {
  readonly scalar: Uint8Array
  readonly certificate: Certificate
}

/** Valid from an hour ago for `days` days. */
export function terms(days = 730): Terms {
  const now = Date.now()
  return {
    serial: serialNumber(randomOctets(16)),
    notBefore: new Date(now - 3_600_000),
    notAfter: new Date(now + days * 86_400_000),
  }
}

export function makePerson(address: string, name: string): Person {
  const rootScalar = randomP256Scalar()
  const intermediateScalar = randomP256Scalar()
  const root = readCertificate(issueRoot({ ...terms(3650), address, name, scalar: rootScalar }))
  const issuer = { certificate: root, scalar: rootScalar }
  const intermediate = readCertificate(
    issueIntermediate({ ...terms(), address, name, scalar: intermediateScalar, issuer }),
  )
  return { address, name, root, rootScalar, intermediate, intermediateScalar }
}

export function makeHolder(person: Person, usage: KeyPurpose = "encrypt", address = person.address): Holder {
  const scalar = randomP256Scalar()
  const issuer = { certificate: person.intermediate, scalar: person.intermediateScalar }
  const point = p256PublicPoint(scalar)
  const certificate = readCertificate(issueEndEntity({ ...terms(), issuer, address, name: person.name, point, usage }))
  return { scalar, certificate }
}
