/** PURE. Whether a client may encrypt to a certificate of ours for somebody who has none, and what becomes of such a message. */
import { type Decision, decide } from "./decide.ts"
import type { UsableKey } from "./key.ts"
import { meantEncrypted, type StatedPolicy } from "./policy.ts"
import type { Resolution } from "./resolution.ts"

/** For people, too. */
export interface StandInOffer {
  readonly isOffered: boolean
  readonly because: string
  /** What becomes of a message that was encrypted to one. */
  readonly decision: Decision["kind"]
}

/**
 * The certificate of the recipient's own that clients are told of, the one that S/MIME mail would be encrypted to: what they encrypt leaves as it is, so that
 * they must not be given what we would hold mail for (a changed key, a better source that is silent). While there is one, there is no stand-in.
 * @returns null when there is none, or not now
 */
export function ownCertificate(resolution: Resolution, stated: StatedPolicy): UsableKey | null {
  const policy = { ...stated.policy, encrypt: "require", methods: ["smime"], otherwise: "hold" } as const
  const decision = decide({ ...stated, policy }, resolution)
  return decision.kind === "encrypt" ? decision.key : null
}

/** None is given out for those who ask to be written to by end to end encryption, nor where what is encrypted to one would not leave. */
export function standInOffer(stated: StatedPolicy, resolution: Resolution): StandInOffer {
  const { policy, statedBy } = stated
  if (policy.standIn === "never") {
    const by = statedBy.standIn === null ? "" : ` (rule "${statedBy.standIn}")`
    return { isOffered: false, because: `policy says standIn = "never"${by}`, decision: "hold" }
  }
  const { kind, because } = decide(meantEncrypted(stated), resolution)
  const demanding = [...resolution.keys, ...resolution.rejected.map(({ candidate }) => candidate)].find(
    ({ wish }) => wish === "require",
  )
  if (demanding !== undefined) {
    const own = `${resolution.address} asks for encryption to a key of its own (${demanding.source})`
    return { isOffered: false, because: own, decision: kind }
  }
  return { isOffered: LEAVING.has(kind), because, decision: kind }
}

const LEAVING: ReadonlySet<Decision["kind"]> = new Set(["encrypt", "tls", "send"])
