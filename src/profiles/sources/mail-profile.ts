import { localPartHash } from "../../identity/fingerprint.ts"
import type { ProfileMailPublic } from "../../identity/profile.ts"
import { type Address, addressKey } from "../../message/address.ts"
import type { AskWeb } from "../../net/web.ts"
import type { KeySource } from "../key.ts"
import { meshProfileAnswer, readMeshProfile } from "./mesh-profile-answer.ts"
import { askPlaces, type Heard, silence } from "./places.ts"
import { PROFILE_SOURCE, type Published, profileAnswer, readPublished } from "./profile-answer.ts"

/** When the newest profile was issued that was met, for each address and each name that its profiles go by. */
export interface SeenProfiles {
  /** null: none was met. */
  newest(address: string, udf: string): Date | null
  saw(address: string, udf: string, issuedAt: Date, now: Date): void
}

export interface MailProfileMeans {
  readonly ask: AskWeb
  readonly seen: SeenProfiles
  /** Profiles of version 2 are asked for as well, and those of version 1 where there is none. */
  readonly byMesh: boolean
  readonly now: () => Date
}

/** The signed profile of an account, published by its domain (docs/PROFILE.md). */
export function mailProfile({ ask, seen, byMesh, now }: MailProfileMeans): KeySource {
  return {
    name: PROFILE_SOURCE,
    trust: "domain",
    async lookup(address, signal) {
      if (address.domain.startsWith("[")) return null
      const [second, first] = await Promise.all([
        byMesh ? publishedOctets(ask, address, "v2/", signal) : null,
        publishedProfile(ask, address, signal),
      ])
      const account = second === null || second.answer === null ? null : readMeshProfile(second.answer.body, address)
      if (account !== null && typeof account !== "string") {
        refuseReplay(account, [account.udf, account.profile.udf, SECOND], seen, now())
        return meshProfileAnswer(account, second?.answer?.url.href ?? "")
      }
      const wasSecond = byMesh && seen.newest(addressKey(address), SECOND) !== null
      if (account !== null && wasSecond) throw silence(PROFILE_SOURCE, `${account}, and there was one before`)
      const { published } = first
      // One that is broken is told of, and does not hide the other.
      const missing = wasSecond ? "the profile of version 2 that was there before is gone" : null
      const remarks = [account ?? missing ?? [], first.remarks].flat()
      if (published === null) return { candidates: [], remarks }
      const profile = readPublished(published, address)
      if (typeof profile !== "string") refuseReplay(profile, [profile.udf], seen, now())
      const answer = profileAnswer(profile, published.place)
      return { ...answer, remarks: [...remarks, ...answer.remarks] }
    },
  }
}

/**
 * A profile that is older than one which was met before under one of its names is a replay: it may name keys that are lost or revoked since, and says nothing of those there are now.
 * Both versions go by the personal root: hiding the newer one brings no older one back. One from the future is taken, but a clock that was wrong once must not make all that come later
 * replays.
 * @throws GatewayError KEY_SOURCE_SILENT
 */
function refuseReplay(
  { address, issuedAt }: Pick<ProfileMailPublic, "address" | "issuedAt">,
  names: readonly string[],
  seen: SeenProfiles,
  now: Date,
): void {
  for (const name of names) {
    const newest = name === SECOND ? null : seen.newest(address, name)
    if (newest !== null && issuedAt < newest)
      throw silence(
        PROFILE_SOURCE,
        `the profile of ${issuedAt.toISOString()} is older than the one of ${newest.toISOString()} that was there before`,
      )
  }
  if (issuedAt > now) return
  for (const name of names) seen.saw(address, name, issuedAt, now)
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
  const { answer, remarks } = await publishedOctets(ask, address, "", signal)
  if (answer === null) return { published: null, remarks }
  return { published: { text: Buffer.from(answer.body).toString("utf8"), place: answer.url.href }, remarks }
}

/** The same for a profile of version 2: its envelope. @throws GatewayError KEY_SOURCE_SILENT */
export async function publishedMeshProfile(
  ask: AskWeb,
  address: Address,
  signal: AbortSignal,
): Promise<Uint8Array | null> {
  return (await publishedOctets(ask, address, "v2/", signal)).answer?.body ?? null
}

function publishedOctets(ask: AskWeb, address: Address, version: "" | "v2/", signal: AbortSignal): Promise<Heard> {
  const asking = { source: PROFILE_SOURCE, ask, maxOctets: MAX_PROFILE_OCTETS }
  return askPlaces(asking, placesOf(address, version), signal)
}

/** The domain's host for profiles; the domain itself only where there is no address for that. */
function placesOf({ localPart, domain }: Address, version: "" | "v2/"): readonly URL[] {
  const leaf = `${localPartHash(localPart)}?l=${encodeURIComponent(localPart.toWellFormed())}`
  return [
    new URL(`https://mail-profile.${domain}/.well-known/mail-profile/${version}${domain}/${leaf}`),
    new URL(`https://${domain}/.well-known/mail-profile/${version}${leaf}`),
  ]
}

/** A profile with two keys of each format is below 20 KB. */
const MAX_PROFILE_OCTETS = 262_144
/** What any profile of version 2 goes by, whoever's it is: that an address had one. No fingerprint is written so. */
const SECOND = "version 2"
