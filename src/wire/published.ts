import type { Profiles } from "../http/public.ts"
import { localPartHash } from "../identity/fingerprint.ts"
import { parseAddress } from "../message/address.ts"
import type { People } from "../store/people.ts"

/** The signed profiles of our people, by domain and hash; made anew when somebody changes. */
export function publishedProfiles(people: People, domains: readonly string[]): Profiles {
  let sequence = -1
  let byHash = new Map<string, string>()
  return {
    domains,
    byHash(domain, hash) {
      if (people.changeSequence() !== sequence) {
        sequence = people.changeSequence()
        byHash = new Map(
          people.accounts().map((account) => {
            const { localPart, domain: own } = parseAddress(account.address)
            return [`${own}/${localPartHash(localPart)}`, account.profile]
          }),
        )
      }
      return byHash.get(`${domain}/${hash}`) ?? null
    },
  }
}
