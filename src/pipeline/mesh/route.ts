import { openPgpRecipients } from "../../crypto/openpgp/recipient.ts"
import { type MailProfile, overMesh } from "../../identity/mail-profile.ts"
import type { MailRecipient } from "../../mesh/mail/sealing.ts"
import type { UsableKey } from "../../profiles/key.ts"
import type { Resolution } from "../../profiles/resolution.ts"
import { smimeRecipient } from "../smime-recipient.ts"
import type { MeshRoute } from "./ports.ts"

/**
 * Where mail for an account goes, and what it is sealed to: its profile, and what the account reads stored mail with, if the same mail profile names that and it
 * may be used.
 * @returns null: it may not, and what is sealed could not be read
 */
export function routeOf(
  { octets, lineage, source }: UsableKey,
  { keys }: Pick<Resolution, "keys">,
  profileIn: (octets: Uint8Array) => MailProfile,
  at: Date,
): MeshRoute | null {
  const mailProfile = profileIn(octets)
  const service = overMesh(mailProfile)
  const own = keys.filter((key) => key.lineage === lineage && key.source === source)
  const reading = readingOf(mailProfile, own, at)
  if (service === undefined || reading === null) return null
  return {
    profile: mailProfile.profile,
    ...reading,
    service: { address: new URL(service.service), udf: service.serviceUdf },
  }
}

/** An account's mail is stored in the first of its formats. */
function readingOf(
  { connection }: MailProfile,
  keys: readonly UsableKey[],
  at: Date,
): Omit<MailRecipient, "profile"> | null {
  const first = connection.find((one) => one.protocol === "SMTP")
  if (first?.encrypt === "OpenPGP") return openPgpReading(keys, at)
  const [certificate] = keys
    .filter(({ format }) => format === "smime")
    .map((key) => smimeRecipient(key.octets))
    .filter(({ key }) => key.kind === "p256")
  return certificate === undefined ? null : { certificate }
}

/** To keys of other kinds a message is another each time that it is made. */
function openPgpReading(keys: readonly UsableKey[], at: Date): Omit<MailRecipient, "profile"> | null {
  const certificate = keys.find(({ format }) => format === "openpgp")
  const [newest] = certificate === undefined ? [] : openPgpRecipients(certificate.octets, at)
  return newest?.kind === "curve25519" ? { certificate: null, openPgp: newest.key } : null
}
