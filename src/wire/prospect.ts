import { parseAddress } from "../message/address.ts"
import { factsOf } from "../pipeline/leaving.ts"
import { decide } from "../profiles/decide.ts"
import type { Discovery } from "../profiles/discover.ts"
import { policyFor } from "../profiles/policy.ts"
import type { Prospect, Question } from "../profiles/prospect.ts"
import { ownCertificate, standInOffer } from "../profiles/stand-in.ts"
import type { Core } from "./core.ts"
import { correspondentsOf } from "./correspondents.ts"
import { keyMeansOf } from "./key-rules.ts"

/** Answers as delivery would be answered, with an instance that a command has opened. */
export async function prospectOf(
  core: Pick<Core, "config" | "database" | "people">,
  question: Question,
): Promise<Prospect> {
  const now = () => new Date()
  using discovery = correspondentsOf({ ...core, now }, keyMeansOf(core.config, now))
  return await prospectBy(discovery, core, question)
}

/** @throws GatewayError ADDRESS_SYNTAX */
export async function prospectBy(
  discovery: Pick<Discovery, "ask" | "resolve">,
  { config: { policy, keys }, people }: Pick<Core, "config" | "people">,
  { sender, recipient, header, anew }: Question,
): Promise<Prospect> {
  const address = parseAddress(recipient)
  const facts = factsOf(sender === null ? null : parseAddress(sender), address, header)
  const stated = policyFor(facts, policy.outgoing)
  const resolution = await (anew ? discovery.ask(address) : discovery.resolve(address))
  const isWanting = people.resolve(address).kind === "foreign" && ownCertificate(resolution, stated) === null
  const standIn = keys.standIns && isWanting ? standInOffer(stated, resolution) : null
  return { ...stated, resolution, decision: decide(stated, resolution), standIn }
}
