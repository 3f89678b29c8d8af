/** PURE. What a signed mail profile of version 2 says of an address. */
import { GatewayError } from "../../errors.ts"
import { type MailProfile, overMesh, verifyMailProfile } from "../../identity/mail-profile.ts"
import { type Address, addressKey } from "../../message/address.ts"
import type { KeyCandidate, SourceAnswer } from "../key.ts"
import { keysOf, PROFILE_SOURCE, wishOf } from "./profile-answer.ts"

/** A profile whose signatures hold and which is this address's; of any other one sentence why it is not used. */
export function readMeshProfile(octets: Uint8Array, address: Address): MailProfile | string {
  try {
    const profile = verifyMailProfile(octets)
    return profile.address === addressKey(address)
      ? profile
      : `the profile that stands there is that of ${profile.address}`
  } catch (error) {
    if (error instanceof GatewayError) return `what stands there is no signed profile of version 2: ${error.message}`
    throw error
  }
}

/** The ways to write to its account: over the Mesh, and its keys of SMTP. All are known by the personal root, as those of version 1. */
export function meshProfileAnswer(profile: MailProfile, place: string): SourceAnswer {
  const byMesh = overMesh(profile)
  // The first way over the Mesh is the one that is gone; each candidate is the whole profile, to be verified and kept.
  const ways = profile.connection.filter((entry) => entry.protocol !== "Mesh" || entry === byMesh)
  const found = ways.map((entry): SourceAnswer => {
    if (entry.protocol !== "Mesh") return keysOf(entry, profile, place)
    const account: KeyCandidate = {
      format: "mesh",
      octets: profile.envelope,
      chain: [],
      source: PROFILE_SOURCE,
      trust: "domain",
      place,
      wish: wishOf(entry),
      lineage: profile.udf,
    }
    return { candidates: [account], remarks: [] }
  })
  return {
    candidates: found.flatMap(({ candidates }) => candidates),
    remarks: found.flatMap(({ remarks }) => remarks),
  }
}
