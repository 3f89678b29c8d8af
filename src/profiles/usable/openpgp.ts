import { appraise } from "../../crypto/openpgp/appraise.ts"
import { checkEncryptable } from "../../crypto/openpgp/recipient.ts"
import { hasCode } from "../../errors.ts"
import type { KeyCandidate } from "../key.ts"
import type { KeyRules } from "./rules.ts"
import type { Verdict } from "./verdict.ts"

/**
 * Whether an OpenPGP certificate is good at all, whoever's it is: see {@link appraise}.
 * @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED
 */
export async function judgeOpenPgp({ octets }: KeyCandidate, { at }: KeyRules): Promise<Verdict> {
  const found = appraise(octets, at)
  const fingerprint = hex(found.fingerprint)
  const revoked = { of: fingerprint, keys: found.revoked.map(hex) }
  if (found.kind === "bad") return { kind: "rejected", because: found.because, revoked }
  const { certificate, subkeys, userIds, algorithm, expiresAt, readsSeipdV2 } = found
  if (!(await canEncryptTo(certificate, at)))
    return { kind: "rejected", because: `Postern cannot encrypt to its key (${algorithm})`, revoked }
  return {
    kind: "good",
    addresses: userIds.map(mailAddress),
    facts: {
      vouched: false,
      octets: certificate,
      fingerprint,
      subkeys: subkeys.map(hex),
      algorithm,
      expiresAt,
      reads: { aesGcm: false, seipdV2: readsSeipdV2 },
    },
    because: "its own signatures are right",
    until: expiresAt,
    revoked,
  }
}

/** By convention (RFC 9580 §5.11) the address in angle brackets at the end, or all of the user id. */
export function mailAddress(userId: string): string {
  return /<([^<>]*)>$/.exec(userId)?.[1] ?? userId
}

function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex")
}

async function canEncryptTo(certificate: Uint8Array, at: Date): Promise<boolean> {
  try {
    await checkEncryptable(certificate, at)
    return true
  } catch (error) {
    if (hasCode(error, "OPENPGP_UNSUPPORTED")) return false
    throw error
  }
}
