/** PURE. Answers of key sources as text that can be kept. */
import { type SourceAnswer, TRUST } from "./key.ts"

/** JSON, in which octets are `{ "base64": "…" }`. */
export function answerText(answer: SourceAnswer): string {
  return JSON.stringify(answer, function (this: Record<string, unknown>, key: string, value: unknown) {
    // A Buffer has made itself into something else by now.
    const original = this[key]
    return original instanceof Uint8Array ? { base64: Buffer.from(original).toString("base64") } : value
  })
}

/** @returns null for what this version did not write: its source is asked again */
export function answerOf(text: string): SourceAnswer | null {
  const answer = parsed(text)
  return isAnswer(answer) ? answer : null
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text, (_key, value: unknown) =>
      isObject(value) && typeof value["base64"] === "string"
        ? new Uint8Array(Buffer.from(value["base64"], "base64"))
        : value,
    )
  } catch {
    // Cut off or broken: no answer.
    return null
  }
}

function isAnswer(value: unknown): value is SourceAnswer {
  return isObject(value) && isListOf(isText, value["remarks"]) && isListOf(isCandidate, value["candidates"])
}

function isCandidate(value: unknown): boolean {
  if (!isObject(value)) return false
  const { format, octets, chain, anchors = [], capabilities = octets, source, trust, place, wish, lineage } = value
  return (
    FORMATS.includes(format) &&
    [octets, capabilities].every(isOctets) &&
    [chain, anchors].every((list) => isListOf(isOctets, list)) &&
    [source, place, lineage ?? ""].every(isText) &&
    (TRUST as readonly unknown[]).includes(trust) &&
    WISHES.includes(wish)
  )
}

function isListOf(is: (one: unknown) => boolean, value: unknown): boolean {
  return Array.isArray(value) && value.every(is)
}

function isOctets(value: unknown): boolean {
  return value instanceof Uint8Array
}

function isText(value: unknown): boolean {
  return typeof value === "string"
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null
}

const FORMATS: readonly unknown[] = ["smime", "openpgp", "mesh"]
const WISHES: readonly unknown[] = ["require", "prefer", "clear", null]
