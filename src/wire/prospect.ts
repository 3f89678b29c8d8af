import type { Prospect, Starters } from "../cli/shell.ts"
import { parseAddress } from "../message/address.ts"
import { factsOf } from "../pipeline/leaving.ts"
import { decide, inClear } from "../profiles/decide.ts"
import { policyFor } from "../profiles/policy.ts"
import type { Core } from "./core.ts"
import { correspondentsOf } from "./correspondents.ts"

/** Answers as delivery would be answered, with an instance that a command has opened. */
export async function prospectOf(
  core: Pick<Core, "config" | "database" | "people">,
  { sender, recipient, header, anew }: Parameters<Starters["prospect"]>[1],
): Promise<Prospect> {
  using discovery = correspondentsOf({ ...core, now: () => new Date() })
  const address = parseAddress(recipient)
  const facts = factsOf(sender === null ? null : parseAddress(sender), address, header)
  const stated = policyFor(facts, core.config.policy.outgoing)
  const resolution = await (anew ? discovery.ask(address) : discovery.resolve(address))
  const decision = stated.policy.encrypt === "off" ? inClear(stated) : decide(stated, resolution)
  return { ...stated, resolution, decision }
}
