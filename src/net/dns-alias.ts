/** PURE. Aliases in answers of DNS (RFC 1034 §3.6.2). */
import type { AnyAnswer } from "./dns-client.ts"

/** The name that `name` is an alias of, itself if it is none, and the records of that name. */
export function recordsOf(
  name: string,
  answers: readonly AnyAnswer[],
): { readonly canonical: string; readonly records: readonly AnyAnswer[] } {
  const canonical = canonicalName(name, answers)
  return { canonical, records: answers.filter((answer) => sameName(answer.name, canonical)) }
}

/** Whether two names are one, with a last dot or without (RFC 4343). */
export function sameName(a: string, b: string): boolean {
  return a.replace(/\.$/, "").toLowerCase() === b.replace(/\.$/, "").toLowerCase()
}

function canonicalName(name: string, answers: readonly AnyAnswer[]): string {
  let at = name
  for (let steps = 0; steps < MAX_ALIASES; steps++) {
    const alias = answers.find((answer) => answer.type === "CNAME" && sameName(answer.name, at))
    if (alias?.type !== "CNAME") break
    at = alias.data
  }
  return at
}

/** Resolvers give up before. */
const MAX_ALIASES = 16
