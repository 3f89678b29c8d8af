import { readCertificate } from "../../crypto/openpgp/certificate.ts"
import { verifiedCertificate } from "../../crypto/openpgp/recipient.ts"
import type { KeyCandidate } from "../key.ts"
import type { KeyRules } from "./rules.ts"
import type { Verdict } from "./verdict.ts"

/** @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED */
export async function judgeOpenPgp({ octets }: KeyCandidate, { at }: KeyRules): Promise<Verdict> {
  const verified = readCertificate(await verifiedCertificate(octets, at))
  return {
    kind: "good",
    addresses: verified.userIds.map((userId) => /<([^<>]+)>$/.exec(userId)?.[1] ?? userId),
    facts: {
      octets: verified.binary,
      fingerprint: Buffer.from(verified.fingerprint).toString("hex"),
      algorithm: verified.encryption === null ? "OpenPGP" : "X25519",
      expiresAt: verified.expiresAt,
      reads: { aesGcm: false, seipdV2: false },
    },
    because: "its own signatures are right",
    until: verified.expiresAt,
  }
}
