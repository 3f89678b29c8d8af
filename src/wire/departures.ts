import type { Envelope } from "../message/envelope.ts"
import { EncryptionClassifier } from "../mime/classify.ts"
import { factsOf } from "../pipeline/leaving.ts"
import { decide } from "../profiles/decide.ts"
import type { Discovery } from "../profiles/discover.ts"
import { mayRefuse, type PolicyRules, policyFor } from "../profiles/policy.ts"
import { HeaderCollector } from "../smtp-in/content.ts"
import type { Departures } from "../smtp-in/ports.ts"
import type { People } from "../store/people.ts"

/** What policy refuses of leaving mail while its sender still waits for the reply; null where no rule ever refuses. */
export function departuresOf(
  policy: PolicyRules,
  people: Pick<People, "resolve">,
  discovery: Pick<Discovery, "resolve">,
): Departures | null {
  if (!mayRefuse(policy)) return null
  return {
    begin(envelope) {
      const foreign = envelope.recipients.filter(({ address }) => people.resolve(address).kind === "foreign")
      return foreign.length === 0 ? null : departure({ ...envelope, recipients: foreign }, policy, discovery)
    },
  }
}

function departure({ sender, recipients }: Envelope, policy: PolicyRules, discovery: Pick<Discovery, "resolve">) {
  const classifier = new EncryptionClassifier()
  const collector = new HeaderCollector()
  let header: Uint8Array | null = null
  // Asked for while the message comes in.
  const resolutions = recipients.map(({ address }) => discovery.resolve(address))
  const refused = async (section: Uint8Array): Promise<readonly string[]> => {
    const reasons = recipients.map(async ({ address }, index) => {
      const stated = policyFor(factsOf(sender, address, section), policy)
      const resolution = await resolutions[index]
      if (stated.policy.otherwise !== "refuse" || resolution === undefined) return []
      const decision = decide(stated, resolution)
      return decision.kind === "refuse" ? [decision.because] : []
    })
    return (await Promise.all(reasons)).flat()
  }
  return {
    push(octets: Uint8Array): void {
      classifier.push(octets)
      header ??= collector.push(octets)
    },
    async end(): Promise<string | null> {
      header ??= collector.end()
      // What its sender encrypted leaves as it is.
      if (header === null || classifier.end() !== "clear") return null
      const reasons = await refused(header)
      return reasons.length === 0 ? null : reasons.slice(0, MAX_NAMED).join("; ")
    },
  }
}

/** Recipients that one reply names. */
const MAX_NAMED = 3
