/** PURE. What a signed mail profile says of an address. */
import { pemDecode } from "../../crypto/cms/pem.ts"
import { GatewayError } from "../../errors.ts"
import { type ProfileConnection, type ProfileMailPublic, verifyProfile } from "../../identity/profile.ts"
import { type Address, addressKey } from "../../message/address.ts"
import type { KeyCandidate, SourceAnswer, Wish } from "../key.ts"
import { readOpenPgpAnswer } from "./openpgp-answer.ts"

/** What stands where a profile should. Nothing in it is checked. */
export interface Published {
  readonly text: string
  readonly place: string
}

/** A profile whose signature holds and which is this address's; of any other one sentence why it is not used. */
export function readPublished({ text }: Pick<Published, "text">, address: Address): ProfileMailPublic | string {
  const profile = verified(text)
  if (typeof profile === "string" || profile.address === addressKey(address)) return profile
  return `the profile that stands there is that of ${profile.address}`
}

/** The keys of such a profile; none where it is a sentence, which is a remark then. */
export function profileAnswer(profile: ProfileMailPublic | string, place: string): SourceAnswer {
  if (typeof profile === "string") return { candidates: [], remarks: [profile] }
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

/** The keys of one connection of a profile, of either version. */
export function keysOf(
  connection: ProfileConnection,
  profile: Pick<ProfileMailPublic, "udf" | "root">,
  place: string,
): SourceAnswer {
  const { encrypt, key } = connection
  const common = {
    source: PROFILE_SOURCE,
    trust: "domain",
    place,
    wish: wishOf(connection),
    lineage: profile.udf,
  } as const
  if (encrypt === "S/MIME") {
    const [octets, ...chain] = pemDecode("CERTIFICATE", key).slice(0, MAX_CHAIN)
    if (octets === undefined) return { candidates: [], remarks: ["its S/MIME connection has no certificate"] }
    return { candidates: [{ ...common, format: "smime", octets, chain, anchors: [profile.root] }], remarks: [] }
  }
  const { certificates, remarks } = readOpenPgpAnswer(Buffer.from(key, "utf8"))
  const candidates = certificates.map((octets): KeyCandidate => ({ ...common, format: "openpgp", octets, chain: [] }))
  return { candidates, remarks }
}

export function wishOf({ prefer, require }: Pick<ProfileConnection, "prefer" | "require">): Wish {
  if (require?.includes("encrypt")) return "require"
  return prefer === "encrypt" ? "prefer" : "clear"
}

/** Name of the source. */
export const PROFILE_SOURCE = "profile"
/** One for each format, and some to come. */
const MAX_CONNECTIONS = 8
/** The account's certificate and its intermediate. */
const MAX_CHAIN = 4
