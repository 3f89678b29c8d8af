import { GatewayError } from "../errors.ts"
import { type Finding, type Outcome, told } from "./finding.ts"
import { member, post } from "./http.ts"
import type { Program } from "./scanner.ts"

/** rspamd's normal or controller worker, or its proxy; `url` is its root. */
export function rspamd(url: URL): Program {
  const check = new URL("/checkv2", url)
  return { name: "rspamd", talk: (facts) => post(check, facts, readRspamdAnswer) }
}

/**
 * Reads rspamd's answer to /checkv2: `{ "action": "no action", "score": 0.5, … }`.
 * @throws GatewayError SCANNER_AWAY for what is no such answer, and for an action that is not known
 */
export function readRspamdAnswer(answer: unknown): Finding {
  const action = member(answer, "action")
  const score = member(answer, "score")
  const outcome = typeof action === "string" ? ACTIONS.get(action) : undefined
  if (outcome === undefined)
    throw new GatewayError("SCANNER_AWAY", `scan: rspamd's action is ${told(JSON.stringify(action) ?? "missing")}`)
  const points = typeof score === "number" ? `, score ${Math.round(score * 100) / 100}` : ""
  return { outcome, because: `${action}${points}` }
}

/** `rewrite subject` is a mark as `add header` is. Nothing is thrown away in silence: `discard` is refused. */
const ACTIONS: ReadonlyMap<string, Outcome> = new Map([
  ["no action", "clean"],
  ["greylist", "defer"],
  ["soft reject", "defer"],
  ["add header", "quarantine"],
  ["rewrite subject", "quarantine"],
  ["quarantine", "quarantine"],
  ["reject", "reject"],
  ["discard", "reject"],
])
