import { wkdHash } from "../../identity/fingerprint.ts"
import type { Address } from "../../message/address.ts"
import type { AskWeb } from "../../net/web.ts"
import type { KeySource, SourceAnswer } from "../key.ts"
import { MAX_OPENPGP_ANSWER_OCTETS, readOpenPgpAnswer } from "./openpgp-answer.ts"
import { askPlaces } from "./places.ts"

/** OpenPGP's Web Key Directory (draft-koch-openpgp-webkey-service §3.1): the domain's own server says which certificate an address has. */
export function wkd(ask: AskWeb): KeySource {
  return {
    name: NAME,
    trust: "domain",
    async lookup(address, signal) {
      if (address.domain.startsWith("[")) return null
      const asking = { source: NAME, ask, maxOctets: MAX_OPENPGP_ANSWER_OCTETS }
      const { answer, remarks } = await askPlaces(asking, placesOf(address), signal)
      return answer === null ? { candidates: [], remarks } : found(answer.body, answer.url)
    },
  }
}

/** Advanced method, direct method: the second one only where there is no address for the sub-domain of the first. */
function placesOf({ localPart, domain }: Address): readonly URL[] {
  // The local part in its own case: what it is hashed from may be two people for a server that knows better.
  const leaf = `hu/${wkdHash(localPart)}?l=${encodeURIComponent(localPart.toWellFormed())}`
  return [
    new URL(`https://openpgpkey.${domain}/.well-known/openpgpkey/${domain}/${leaf}`),
    new URL(`https://${domain}/.well-known/openpgpkey/${leaf}`),
  ]
}

function found(body: Uint8Array, url: URL): SourceAnswer {
  const { certificates, isArmored, remarks } = readOpenPgpAnswer(body)
  return {
    candidates: certificates.map((octets) => ({
      format: "openpgp",
      octets,
      chain: [],
      source: NAME,
      trust: "domain",
      place: url.href,
      wish: null,
      lineage: null,
    })),
    remarks:
      isArmored && certificates.length > 0 ? [...remarks, "it stands there in armor, and should be binary"] : remarks,
  }
}

const NAME = "wkd"
