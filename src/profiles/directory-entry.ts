/** PURE. Entries of LDAP directories: the attributes that hold keys (RFC 4523, RFC 2798, the schema of PGP's keyserver). */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { readCertificateBag } from "../crypto/cms/certificate-bag.ts"
import { binaryOf } from "../crypto/openpgp/certificate.ts"
import { GatewayError } from "../errors.ts"
import type { Entry } from "../net/ldap-client.ts"
import type { KeyCandidate } from "./key.ts"

/** What is asked for. With `;binary` and without: servers know attributes by one or the other (RFC 4522, Active Directory). */
export const KEY_ATTRIBUTES = [
  "userSMIMECertificate;binary",
  "userSMIMECertificate",
  "userCertificate;binary",
  "userCertificate",
  "pgpKey",
] as const

/** A key that an entry holds. */
export type EntryKey = Pick<KeyCandidate, "format" | "octets" | "chain" | "capabilities">

export interface EntryContent {
  readonly keys: readonly EntryKey[]
  readonly remarks: readonly string[]
}

/** The keys of an entry, each once; what cannot be read is told of. */
export function readEntryKeys({ attributes }: Entry): EntryContent {
  const read = READERS.flatMap(({ name, read }) =>
    attributes
      .filter((attribute) => baseName(attribute.name) === name.toLowerCase())
      .flatMap(({ values }) => values)
      .map((value) => attempt(name, () => read(value))),
  )
  const all = read.flatMap(({ keys }) => keys)
  // The first one counts: those of userSMIMECertificate come with their chain.
  const keys = all.filter(({ octets }, at) => all.findIndex((other) => equal(other.octets, octets)) === at)
  const remarks = read.flatMap((one) => one.remarks)
  const left = keys.length - MAX_KEYS
  return {
    keys: keys.slice(0, MAX_KEYS),
    remarks: left > 0 ? [...remarks, `${left} more keys of one entry are not looked at`] : remarks,
  }
}

function attempt(name: string, read: () => readonly EntryKey[]): EntryContent {
  try {
    const keys = read()
    return { keys, remarks: keys.length === 0 ? [`${name} holds no certificate of a person`] : [] }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return { keys: [], remarks: [`${name} cannot be read: ${error.message}`] }
  }
}

/** In order of preference (RFC 2798 §2.8). */
const READERS: readonly { readonly name: string; readonly read: (value: Uint8Array) => readonly EntryKey[] }[] = [
  { name: "userSMIMECertificate", read: bag },
  { name: "userCertificate", read: (octets) => [{ format: "smime", octets, chain: [] }] },
  { name: "pgpKey", read: (value) => [{ format: "openpgp", octets: binaryOf(value), chain: [] }] },
]

/** Certificates that issued no other of the bag are those of the person. */
function bag(value: Uint8Array): readonly EntryKey[] {
  const { certificates, capabilities } = readCertificateBag(value)
  const read = certificates.slice(0, MAX_CERTIFICATES).map(readCertificate)
  const own = read.filter(
    (one) => !read.some((other) => other !== one && equal(other.identity.issuer, one.subject)) || read.length === 1,
  )
  return own.map(({ der }) => ({
    format: "smime",
    octets: der,
    chain: read.filter((other) => !own.includes(other)).map((other) => other.der),
    ...(capabilities === null ? {} : { capabilities }),
  }))
}

/** RFC 4512 §2.5: an attribute's description is its type and options, without case. */
function baseName(description: string): string {
  return (description.split(";")[0] ?? "").toLowerCase()
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** Of one entry: people who renew every year keep the old ones. */
const MAX_KEYS = 32
/** Of one bag: a chain, and certificates of several purposes. */
const MAX_CERTIFICATES = 32
