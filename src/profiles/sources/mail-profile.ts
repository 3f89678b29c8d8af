import { pemDecode } from "../../crypto/cms/pem.ts"
import { GatewayError } from "../../errors.ts"
import { localPartHash } from "../../identity/fingerprint.ts"
import { type ProfileConnection, type ProfileMailPublic, verifyProfile } from "../../identity/profile.ts"
import { type Address, addressKey } from "../../message/address.ts"
import type { AskWeb } from "../../net/web.ts"
import type { KeyCandidate, KeySource, SourceAnswer, Wish } from "../key.ts"
import { readOpenPgpAnswer } from "./openpgp-answer.ts"
import { askPlaces } from "./places.ts"

/** The signed profile of an account, published by its domain (docs/PROFILE.md). */
export function mailProfile(ask: AskWeb): KeySource {
  return {
    name: NAME,
    trust: "domain",
    async lookup(address, signal) {
      if (address.domain.startsWith("[")) return null
      const { published, remarks } = await publishedProfile(ask, address, signal)
      return published === null ? { candidates: [], remarks } : readProfileAnswer(published, address)
    },
  }
}

/** What stands where a profile should. Nothing in it is checked. */
interface Published {
  readonly text: string
  readonly place: string
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
  const asking = { source: NAME, ask, maxOctets: MAX_PROFILE_OCTETS }
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

/** The keys of a profile whose signature holds and which is this address's; of any other none, with a remark. */
export function readProfileAnswer({ text, place }: Published, address: Address): SourceAnswer {
  const profile = verified(text)
  if (typeof profile === "string") return { candidates: [], remarks: [profile] }
  if (profile.address !== addressKey(address))
    return { candidates: [], remarks: [`the profile that stands there is that of ${profile.address}`] }
  const found = profile.connection.slice(0, MAX_CONNECTIONS).map((entry) => keysOf(entry, profile, place))
  return {
    candidates: found.flatMap(({ candidates }) => candidates),
    remarks: [
      ...found.flatMap(({ remarks }) => remarks),
      ...(profile.connection.length === 0 ? ["the profile names no key of a kind that we know"] : []),
      ...(profile.connection.length > MAX_CONNECTIONS ? [`only ${MAX_CONNECTIONS} of its connections were read`] : []),
    ],
  }
}

/** @returns why it is not used, for what does not hold */
function verified(text: string): ProfileMailPublic | string {
  try {
    return verifyProfile(text)
  } catch (error) {
    if (error instanceof GatewayError) return `what stands there is no signed profile: ${error.message}`
    throw error
  }
}

function keysOf(connection: ProfileConnection, profile: ProfileMailPublic, place: string): SourceAnswer {
  const { encrypt, key } = connection
  const common = { source: NAME, trust: "domain", place, wish: wishOf(connection), lineage: profile.udf } as const
  if (encrypt === "S/MIME") {
    const [octets, ...chain] = pemDecode("CERTIFICATE", key).slice(0, MAX_CHAIN)
    if (octets === undefined) return { candidates: [], remarks: ["its S/MIME connection has no certificate"] }
    return { candidates: [{ ...common, format: "smime", octets, chain: [...chain, profile.root] }], remarks: [] }
  }
  const { certificates, remarks } = readOpenPgpAnswer(Buffer.from(key, "utf8"))
  const candidates = certificates.map((octets): KeyCandidate => ({ ...common, format: "openpgp", octets, chain: [] }))
  return { candidates, remarks }
}

function wishOf({ prefer, require }: ProfileConnection): Wish {
  if (require?.includes("encrypt")) return "require"
  return prefer === "encrypt" ? "prefer" : "clear"
}

const NAME = "profile"
/** A profile with two keys of each format is below 20 KB. */
const MAX_PROFILE_OCTETS = 262_144
/** One for each format, and some to come. */
const MAX_CONNECTIONS = 8
/** The account's certificate and its intermediate. */
const MAX_CHAIN = 4
