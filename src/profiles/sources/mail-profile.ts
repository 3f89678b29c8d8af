import { localPartHash } from "../../identity/fingerprint.ts"
import type { Address } from "../../message/address.ts"
import type { AskWeb } from "../../net/web.ts"
import type { KeySource } from "../key.ts"
import { askPlaces } from "./places.ts"
import { PROFILE_SOURCE, type Published, readProfileAnswer } from "./profile-answer.ts"

/** The signed profile of an account, published by its domain (docs/PROFILE.md). */
export function mailProfile(ask: AskWeb): KeySource {
  return {
    name: PROFILE_SOURCE,
    trust: "domain",
    async lookup(address, signal) {
      if (address.domain.startsWith("[")) return null
      const { published, remarks } = await publishedProfile(ask, address, signal)
      return published === null ? { candidates: [], remarks } : readProfileAnswer(published, address)
    },
  }
}

/**
 * Asks where a domain publishes profiles; `published` is null when it says that there is none.
 * @throws GatewayError KEY_SOURCE_SILENT
 */
export async function publishedProfile(
  ask: AskWeb,
  address: Address,
  signal: AbortSignal,
): Promise<{ readonly published: Published | null; readonly remarks: readonly string[] }> {
  const asking = { source: PROFILE_SOURCE, ask, maxOctets: MAX_PROFILE_OCTETS }
  const { answer, remarks } = await askPlaces(asking, placesOf(address), signal)
  if (answer === null) return { published: null, remarks }
  return { published: { text: Buffer.from(answer.body).toString("utf8"), place: answer.url.href }, remarks }
}

/** The domain's host for profiles; the domain itself only where there is no address for that. */
function placesOf({ localPart, domain }: Address): readonly URL[] {
  const leaf = `${localPartHash(localPart)}?l=${encodeURIComponent(localPart.toWellFormed())}`
  return [
    new URL(`https://mail-profile.${domain}/.well-known/mail-profile/${domain}/${leaf}`),
    new URL(`https://${domain}/.well-known/mail-profile/${leaf}`),
  ]
}

/** A profile with two keys of each format is below 20 KB. */
const MAX_PROFILE_OCTETS = 262_144
