import { overMesh, verifyMailProfile } from "../../identity/mail-profile.ts"
import type { KeyCandidate } from "../key.ts"
import type { KeyRules } from "./rules.ts"
import type { Verdict } from "./verdict.ts"

/**
 * Whether an account of the Mesh may be written to: its mail profile is signed by it, and names a service. Whose the profile is stands in it.
 * @throws GatewayError as `verifyMailProfile`
 */
export async function judgeMesh({ octets }: KeyCandidate, { at }: KeyRules): Promise<Verdict> {
  const mailProfile = verifyMailProfile(octets)
  const { address, profile, issuedAt } = mailProfile
  if (overMesh(mailProfile) === undefined) return { kind: "rejected", because: "its account is to be had by SMTP only" }
  if (issuedAt.getTime() > at.getTime() + MAX_AHEAD_MS) return { kind: "rejected", because: "it is of the future" }
  return {
    kind: "good",
    addresses: [address],
    facts: {
      vouched: false,
      octets,
      fingerprint: profile.udf,
      algorithm: profile.keys.encryption.key.curve,
      expiresAt: null,
      reads: { aesGcm: false, seipdV2: false },
    },
    because: "its own signatures are right",
    until: null,
  }
}

/** Clocks are not that wrong. */
const MAX_AHEAD_MS = 86_400_000
