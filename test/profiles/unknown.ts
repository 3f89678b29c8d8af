import type { Resolution } from "../../src/profiles/resolution.ts"

/** An address of which nothing is known. */
export const UNKNOWN: Resolution = {
  address: "b@else.test",
  keys: [],
  rejected: [],
  unanswered: [],
  remembered: [],
  domainTrusts: [],
  answers: [],
}
