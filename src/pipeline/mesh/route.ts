import { readCertificate } from "../../crypto/cms/certificate.ts"
import { cmsRecipient } from "../../crypto/cms/recipient.ts"
import { type MailProfile, overMesh } from "../../identity/mail-profile.ts"
import type { UsableKey } from "../../profiles/key.ts"
import type { Resolution } from "../../profiles/resolution.ts"
import type { MeshRoute } from "./ports.ts"

/**
 * Where mail for an account goes, and what it is sealed to: its profile, and the S/MIME certificate that the same mail profile names, if it may be used.
 * @returns null: there is no such certificate, and what is sealed could not be read
 */
export function routeOf(
  { octets, lineage, source }: UsableKey,
  { keys }: Pick<Resolution, "keys">,
  profileIn: (octets: Uint8Array) => MailProfile,
): MeshRoute | null {
  const found = profileIn(octets)
  const service = overMesh(found)
  const [certificate] = keys
    .filter((key) => key.format === "smime" && key.lineage === lineage && key.source === source)
    .map((key) => cmsRecipient(readCertificate(key.octets)))
    .filter(({ key }) => key.kind === "p256")
  if (service === undefined || certificate === undefined) return null
  return {
    profile: found.profile,
    certificate,
    service: { address: new URL(service.service), udf: service.serviceUdf },
  }
}
