import type { Recipient } from "../message/envelope.ts"
import { decodeWords } from "../mime/encoded-words.ts"
import { fieldText, parseFields } from "../mime/header.ts"
import { type Decision, decide, inClear } from "../profiles/decide.ts"
import { type MessageFacts, policyFor, type StatedPolicy } from "../profiles/policy.ts"
import type { Gateway, OpenMessage } from "./gateway.ts"

/** What becomes of a message to somebody elsewhere, and the policy that says so. */
export interface Leaving extends StatedPolicy {
  readonly decision: Decision
}

/** Asks for the recipient's keys anew at each attempt: one that was revoked meanwhile is not used, one that was published is. */
export async function leaving(
  { entry }: OpenMessage,
  header: Uint8Array,
  { address }: Recipient,
  { policy, correspondents }: Pick<Gateway, "policy" | "correspondents">,
): Promise<Leaving> {
  const stated = policyFor(factsOf(entry.envelope.sender, address, header), policy)
  // Nobody is asked about people whose mail is not to be encrypted.
  if (stated.policy.encrypt === "off") return { ...stated, decision: inClear(stated) }
  return { ...stated, decision: decide(stated, await correspondents.resolve(address)) }
}

/** What policy looks at, of a header section. */
export function factsOf(
  sender: MessageFacts["sender"],
  recipient: MessageFacts["recipient"],
  header: Uint8Array,
): MessageFacts {
  const fields = parseFields(header)
  const named = (name: string): readonly string[] =>
    fields.filter((field) => field.name === name).map((field) => fieldText(field))
  return { sender, recipient, subject: named("subject").map(decodeWords).join(" "), fields: named }
}
