import { readCertificate } from "../crypto/cms/certificate.ts"
import { readCertificate as readOpenPgp } from "../crypto/openpgp/certificate.ts"
import { verifiedCertificate } from "../crypto/openpgp/recipient.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { type Address, addressKey, parseAddress } from "../message/address.ts"
import type { Judged, KeyCandidate, UsableKey } from "./key.ts"

/**
 * Whether mail for `address` may be encrypted to the key at `at`: it can be read, is in force, names the address (unless an administrator vouches
 * for it) and is of a kind that we encrypt to.
 */
export async function judge(candidate: KeyCandidate, address: Address, at: Date): Promise<Judged> {
  try {
    const key = candidate.format === "smime" ? smime(candidate, at) : await openPgp(candidate, at)
    const named = candidate.trust === "pinned" || key.addresses.some((other) => isSame(other, address))
    if (!named) return { kind: "rejected", candidate, because: `it names ${key.addresses.join(", ") || "nobody"}` }
    return {
      kind: "usable",
      key: { ...candidate, ...key.facts, lineage: candidate.lineage ?? key.facts.fingerprint } as UsableKey,
    }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return { kind: "rejected", candidate, because: error.message }
  }
}

interface Read {
  readonly addresses: readonly string[]
  readonly facts: Pick<UsableKey, "octets" | "fingerprint" | "vouched" | "algorithm" | "expiresAt" | "reads">
}

function smime({ octets }: KeyCandidate, at: Date): Read {
  const certificate = readCertificate(octets)
  if (!certificate.mayEncrypt) throw new GatewayError("CERTIFICATE_UNSUPPORTED", "its key usage allows no encryption")
  if (certificate.notAfter.getTime() <= at.getTime())
    throw new GatewayError("CERTIFICATE_INVALID", `it expired on ${certificate.notAfter.toISOString().slice(0, 10)}`)
  return {
    addresses: certificate.emailAddresses,
    facts: {
      octets,
      fingerprint: Buffer.from(sha256(certificate.subjectPublicKeyInfo)).toString("hex"),
      vouched: false,
      algorithm: certificate.point === null ? "RSA" : "P-256",
      expiresAt: certificate.notAfter,
      reads: { aesGcm: false, seipdV2: false },
    },
  }
}

async function openPgp({ octets }: KeyCandidate, at: Date): Promise<Read> {
  const verified = readOpenPgp(await verifiedCertificate(octets, at))
  return {
    addresses: verified.userIds.map((userId) => /<([^<>]+)>$/.exec(userId)?.[1] ?? userId),
    facts: {
      octets: verified.binary,
      fingerprint: Buffer.from(verified.fingerprint).toString("hex"),
      vouched: false,
      algorithm: verified.encryption === null ? "OpenPGP" : "X25519",
      expiresAt: verified.expiresAt,
      reads: { aesGcm: false, seipdV2: false },
    },
  }
}

function isSame(written: string, address: Address): boolean {
  try {
    return addressKey(parseAddress(written)) === addressKey(address)
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}
