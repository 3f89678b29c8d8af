import { minimalCertificate, readCertificate } from "../crypto/openpgp/certificate.ts"
import type { Askers, PublishedKeys } from "../http/published.ts"
import { localPartHash } from "../identity/fingerprint.ts"
import { parseAddress } from "../message/address.ts"
import { namesAddress } from "../profiles/usable/addresses.ts"
import { mailAddress } from "../profiles/usable/openpgp.ts"
import type { MeshAccounts } from "../store/mesh-accounts.ts"
import type { Account, People } from "../store/people.ts"
import type { Core } from "./core.ts"
import { membership, networkOf } from "./network.ts"
import { WindowCounter } from "./window-counter.ts"

/** Keys of our people, by domain and hash; looked for anew when somebody changes. Aliases and tags have none: no key of their targets names them. */
export function publishedKeys(
  people: People,
  domains: readonly string[],
  mesh: Pick<MeshAccounts, "publishedOf">,
): PublishedKeys {
  let sequence = -1
  let accounts: ReadonlyMap<string, Published> = new Map()
  let aliases: ReadonlySet<string> = new Set()
  const look = (): void => {
    if (people.changeSequence() === sequence) return
    sequence = people.changeSequence()
    accounts = new Map(people.accounts().map((account) => [placeOf(account.address), published(account)]))
    aliases = new Set([...people.aliases().keys()].map(placeOf))
  }
  const find = (domain: string, hash: string): Published | null => {
    look()
    return accounts.get(`${domain}/${hash}`) ?? null
  }
  return {
    domains,
    profile: (domain, hash) => find(domain, hash)?.profile ?? null,
    meshProfile: (domain, hash) => {
      const found = find(domain, hash)
      return found === null ? null : (mesh.publishedOf(found.address)?.mailProfile ?? null)
    },
    certificate: (domain, hash) => find(domain, hash)?.certificate() ?? null,
    isKnown: (domain, hash) => find(domain, hash) !== null || aliases.has(`${domain}/${hash}`),
  }
}

interface Published {
  readonly address: string
  readonly profile: string
  /** Made when it is asked for, and kept. */
  certificate(): Uint8Array | null
}

function published(account: Account): Published {
  let made: Uint8Array | null | undefined
  return {
    address: account.address,
    profile: account.profile,
    certificate: () => {
      if (made === undefined) made = account.formats.includes("openpgp") ? certificateOf(account) : null
      return made
    },
  }
}

/** draft-koch-openpgp-webkey-service §3.1: the certificate names the address that it is found by. */
function certificateOf({ address, keys }: Account): Uint8Array | null {
  const key = keys.find(({ format, current }) => format === "openpgp" && current)
  if (key === undefined) return null
  const certificate = minimalCertificate(key.certificate)
  const names = readCertificate(certificate).userIds.map(mailAddress)
  return namesAddress(names, parseAddress(address), false) ? certificate : null
}

function placeOf(address: string): string {
  const { localPart, domain } = parseAddress(address)
  return `${domain}/${localPartHash(localPart)}`
}

/** Who asks for whom, counted in memory: one network may ask for so many who are not here within an hour. */
export function askersOf({ config, counters }: Pick<Core, "config" | "counters">): Askers {
  const guesses = new WindowCounter(HOUR_MS, MAX_NETWORKS)
  const exempt = membership(config.policy.trusted)
  const most = config.limits.httpUnknownAddresses
  return {
    async mayAsk(remote) {
      if (most === 0 || exempt(remote) || (await guesses.of(networkOf(remote))) < most) return true
      counters.add("postern_http_limited_total", { limit: "unknown-addresses" })
      return false
    },
    async guessed(remote) {
      if (!exempt(remote)) await guesses.add(networkOf(remote))
    },
  }
}

const HOUR_MS = 3_600_000
const MAX_NETWORKS = 10_000
