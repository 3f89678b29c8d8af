import { type MailProfile, verifyMailProfile } from "../identity/mail-profile.ts"

/** Verifies mail profiles, each once for as long as somebody holds its octets: of a correspondent there is one, and many messages. */
export function mailProfiles(): (octets: Uint8Array) => MailProfile {
  const known = new WeakMap<Uint8Array, MailProfile>()
  return (octets) => {
    const kept = known.get(octets)
    if (kept !== undefined) return kept
    const profile = verifyMailProfile(octets)
    known.set(octets, profile)
    return profile
  }
}
