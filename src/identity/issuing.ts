/** PURE. The certificates of one person: lifetimes, serials, and who issues what. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { type Issuer, SERIAL_OCTETS, serialNumber } from "../crypto/cms/certificate-writer.ts"
import { issueEndEntity, issueLogin } from "../crypto/cms/issue.ts"
import { p256PublicPoint, p256ScalarFromSeed } from "../crypto/primitives/p256.ts"
import type { KeyPair, Person } from "./person.ts"

/** `count` octets from a generator fit for keys. */
export type Random = (count: number) => Uint8Array

/** Where makers get time and randomness from. */
export interface Making {
  readonly now: Date
  readonly random: Random
}

/** How long a certificate holds. */
export interface Validity {
  readonly notBefore: Date
  readonly notAfter: Date
}

const HOUR_MS = 3_600_000
const YEAR_MS = 365.25 * 24 * HOUR_MS
/** The personal root is what others remember: long. */
const ROOT_YEARS = 10
/** Everything below it. */
const YEARS = 2
/** Ten years. */
export function rootValidity(now: Date): Validity {
  return validity(now, ROOT_YEARS)
}

/** Two years, but not longer than the root. */
export function leafValidity(now: Date, rootNotAfter: Date): Validity {
  const { notBefore, notAfter } = validity(now, YEARS)
  return { notBefore, notAfter: notAfter < rootNotAfter ? notAfter : rootNotAfter }
}

/** A new serial number: as long as every other, so that device and account certificates can take each other's place. */
export function makeSerial(random: Random): Uint8Array {
  return serialNumber(random(SERIAL_OCTETS))
}

/** A new P-256 scalar. */
export function makeScalar(random: Random): Uint8Array {
  return p256ScalarFromSeed(random(48))
}

/** The pair as one that signs certificates. */
export function issuerOf({ certificate, scalar }: KeyPair): Issuer {
  return { certificate: readCertificate(certificate), scalar }
}

/** A certificate for the key with this scalar, issued by the person's intermediate; it does not outlive the root. */
export function issueLeaf(
  person: Pick<Person, "address" | "root" | "intermediate">,
  leaf: Omit<Leaf, "point"> & { readonly scalar: Uint8Array },
  now: Date,
): KeyPair {
  const { scalar } = leaf
  return { certificate: issuePublicLeaf(person, { ...leaf, point: p256PublicPoint(scalar) }, now), scalar }
}

/** The same, for a key whose scalar somebody else has. */
export function issuePublicLeaf(
  person: Pick<Person, "address" | "root" | "intermediate">,
  leaf: Leaf,
  now: Date,
): Uint8Array {
  return issueEndEntity({
    issuer: issuerOf(person.intermediate),
    address: person.address,
    ...leaf,
    ...leafValidity(now, readCertificate(person.root.certificate).notAfter),
  })
}

/** What tells one end entity of a person from another. */
interface Leaf {
  readonly name: string
  /** Uncompressed. */
  readonly point: Uint8Array
  readonly serial: Uint8Array
  readonly usage: "encrypt" | "sign"
}

/** A device's login certificate, issued by the personal root itself. */
export function issueLoginPair(
  person: Pick<Person, "address" | "root">,
  login: { readonly device: string; readonly scalar: Uint8Array; readonly serial: Uint8Array },
  now: Date,
): KeyPair {
  const issuer = issuerOf(person.root)
  const certificate = issueLogin({
    issuer,
    address: person.address,
    device: login.device,
    point: p256PublicPoint(login.scalar),
    serial: login.serial,
    ...leafValidity(now, issuer.certificate.notAfter),
  })
  return { certificate, scalar: login.scalar }
}

function validity(now: Date, years: number): Validity {
  // Clocks of clients are off: an hour early. Certificates count whole seconds.
  const start = Math.floor((now.getTime() - HOUR_MS) / 1000) * 1000
  return { notBefore: new Date(start), notAfter: new Date(start + years * YEAR_MS) }
}
