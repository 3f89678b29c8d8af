import { sha256 } from "../crypto/primitives/hash.ts"
import { type Profile, verifyProfileService } from "../mesh/profile.ts"

/**
 * Profiles of services that ask, verified once: the same octets are the same profile. Verifying one takes a millisecond, more than the rest of a request. Of the last that
 * came some are kept, so that who makes up profiles pushes out others and fills nothing.
 */
export class PeerProfiles {
  readonly #most: number
  readonly #known = new Map<string, Profile>()

  constructor(most = MAX_PROFILES) {
    this.#most = most
  }

  /** @throws GatewayError as `verifyProfileService` */
  verify(envelope: Uint8Array): Profile {
    const name = Buffer.from(sha256(envelope)).toString("base64")
    const profile = this.#known.get(name) ?? verifyProfileService(envelope, null)
    this.#known.delete(name)
    this.#known.set(name, profile)
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= this.#most) break
      this.#known.delete(oldest)
    }
    return profile
  }
}

/** Each has some 5 KB. */
const MAX_PROFILES = 500
