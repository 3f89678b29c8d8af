/** PURE. Answers of key sources as text that can be kept. */
import { GatewayError } from "../errors.ts"
import { type KeyCandidate, type SourceAnswer, TRUST } from "./key.ts"

/** JSON, in which octets are `{ "base64": "…" }`. */
export function answerText(answer: SourceAnswer): string {
  return JSON.stringify(answer, function (this: Record<string, unknown>, key: string, value: unknown) {
    // A Buffer has made itself into something else by now.
    const original = this[key]
    return original instanceof Uint8Array ? { base64: Buffer.from(original).toString("base64") } : value
  })
}

/** @throws GatewayError STATE_CORRUPT */
export function answerOf(text: string): SourceAnswer {
  const answer = parsed(text)
  if (!Array.isArray(answer.remarks) || !Array.isArray(answer.candidates) || !answer.candidates.every(isCandidate))
    throw new GatewayError("STATE_CORRUPT", "keys: a kept answer is none")
  return answer
}

function parsed(text: string): SourceAnswer {
  try {
    return JSON.parse(text, (_key, value: unknown) =>
      isObject(value) && typeof value.base64 === "string" ? new Uint8Array(Buffer.from(value.base64, "base64")) : value,
    ) as SourceAnswer
  } catch (cause) {
    throw new GatewayError("STATE_CORRUPT", "keys: a kept answer cannot be read", { cause })
  }
}

function isCandidate({ format, octets, chain, trust }: KeyCandidate): boolean {
  return (
    (format === "smime" || format === "openpgp") &&
    octets instanceof Uint8Array &&
    chain.every((one) => one instanceof Uint8Array) &&
    TRUST.includes(trust)
  )
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null
}
