import { GatewayError } from "../errors.ts"
import { type Finding, type Outcome, told } from "./finding.ts"
import { member, post } from "./http.ts"
import type { Program } from "./scanner.ts"

/** A program of the administrator's own. */
export function hook(url: URL): Program {
  return { name: "hook", talk: (facts) => post(url, facts, readHookAnswer) }
}

/**
 * Reads `{ "verdict": "accept" | "quarantine" | "reject" | "defer", "reason": "…" }`; the reason may be missing.
 * @throws GatewayError SCANNER_AWAY for anything else
 */
export function readHookAnswer(answer: unknown): Finding {
  const verdict = member(answer, "verdict")
  const reason = member(answer, "reason") ?? ""
  const outcome = typeof verdict === "string" ? VERDICTS.get(verdict) : undefined
  if (outcome === undefined)
    throw new GatewayError("SCANNER_AWAY", `scan: hook's verdict is ${told(JSON.stringify(verdict) ?? "missing")}`)
  if (typeof reason !== "string") throw new GatewayError("SCANNER_AWAY", "scan: hook's reason is no text")
  return { outcome, because: reason === "" ? `${verdict}` : told(reason) }
}

const VERDICTS: ReadonlyMap<string, Outcome> = new Map([
  ["accept", "clean"],
  ["quarantine", "quarantine"],
  ["reject", "reject"],
  ["defer", "defer"],
])
