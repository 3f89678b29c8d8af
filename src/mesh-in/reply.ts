import type { Writable } from "../crypto/jsonb/write.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import type { Outcome } from "../mesh/protocol/operation.ts"

/** What was asked has been done, or here it is. */
export function done(members: { readonly [name: string]: Writable | undefined } = {}): Reply {
  return { outcome: "Success", reason: "", members }
}

/** It has not. `reason` is for people, and tells a stranger no more than he may know. */
export function refusal(outcome: Outcome, reason = "", members: Reply["members"] = {}): Reply {
  return { outcome, reason, members }
}
