import type { Address } from "../message/address.ts"
import type { Recipient } from "../message/envelope.ts"
import { decodeWords } from "../mime/encoded-words.ts"
import { fieldText, parseFields } from "../mime/header.ts"
import { type Decision, decide, inClear } from "../profiles/decide.ts"
import {
  type MessageFacts,
  meantEncrypted,
  onlyEncrypted,
  policyFor,
  type StatedPolicy,
  withoutMethod,
} from "../profiles/policy.ts"
import type { Resolution } from "../profiles/resolution.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"

/** What becomes of a message to somebody elsewhere, and what says so. */
export interface Leaving extends StatedPolicy {
  readonly decision: Decision
  /** null: nobody was asked, since encryption is off. */
  readonly resolution: Resolution | null
  readonly facts: MessageFacts
}

interface How {
  readonly isOpened?: boolean
  readonly encryptedOnly?: boolean
  readonly byMesh?: boolean
}

/**
 * Asks for the recipient's keys anew at each attempt: one that was revoked meanwhile is not used, one that was published is.
 * @param how isOpened: its sender had encrypted it, to a stand-in; encryptedOnly: it must not leave in clear, whatever rules say; byMesh: it may be sent over
 *   the Mesh
 */
export async function leaving(
  { entry }: OpenMessage,
  header: Uint8Array,
  { address }: Recipient,
  { policy, correspondents }: Pick<Gateway, "policy" | "correspondents">,
  { isOpened = false, encryptedOnly = false, byMesh = false }: How = {},
): Promise<Leaving> {
  const facts = factsOf(entry.envelope.sender, address, header)
  const said = byMesh ? policyFor(facts, policy) : withoutMethod(policyFor(facts, policy), "mesh")
  const stated = encryptedOnly ? onlyEncrypted(said) : isOpened ? meantEncrypted(said) : said
  // Nobody is asked about people whose mail is not to be encrypted.
  if (stated.policy.encrypt === "off") return { ...stated, decision: inClear(stated), resolution: null, facts }
  const resolution = await correspondents.resolve(address)
  const decision = decide(stated, resolution)
  if (decision.kind === "encrypt") correspondents.used(resolution, decision.key)
  return { ...stated, decision, resolution, facts }
}

/** What policy looks at, of a header section. */
export function factsOf(sender: Address | null, recipient: Address, header: Uint8Array): MessageFacts {
  const fields = parseFields(header)
  const named = (name: string): readonly string[] =>
    fields.filter((field) => field.name === name).map((field) => fieldText(field))
  return { sender, recipient, subject: named("subject").map(decodeWords).join(" "), fields: named }
}
