/** PURE. Retry-After (RFC 9110 §10.2.3): seconds, or a date. Counted up to a week. @returns null for none, and for what is neither */
export function readRetryAfter(text: string | undefined, now: Date): Date | null {
  if (text === undefined) return null
  const at = /^\d{1,9}$/.test(text) ? now.getTime() + Number(text) * 1000 : Date.parse(text)
  return Number.isNaN(at) ? null : new Date(Math.min(at, now.getTime() + MAX_MS))
}

/** The longest rate limit of a public CA; without a bound, one wrong header would stop renewal for good. */
const MAX_MS = 7 * 86_400e3
