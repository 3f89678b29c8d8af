/** RFC 5322 §3.3 date-time, in UTC: `Fri, 02 Jan 2026 03:04:05 +0000`. */
export function formatDateTime(date: Date): string {
  return date.toUTCString().replace("GMT", "+0000")
}

/**
 * Reads a date-time (RFC 5322 §3.3), numeric zones and those of §4.3 that are known to be UTC; comments are passed over.
 * @returns null for anything else, and for what is no date
 */
export function parseDateTime(text: string): Date | null {
  const parts = DATE_TIME.exec(
    text
      .slice(0, MAX_DATE_CHARACTERS)
      .replace(/\([^()]*\)/g, " ")
      .trim(),
  )
  if (parts === null) return null
  const [, day = "", month = "", year = "", time = "", seconds = "00", zone = ""] = parts
  const offset = /^[+-]/.test(zone) ? `${zone.slice(0, 3)}:${zone.slice(3)}` : "Z"
  const at = MONTHS.indexOf(month.toLowerCase()) + 1
  const [twoDigitMonth, twoDigitDay] = [String(at).padStart(2, "0"), day.padStart(2, "0")]
  const date = new Date(`${year}-${twoDigitMonth}-${twoDigitDay}T${time}:${seconds}${offset}`)
  return Number.isNaN(date.getTime()) ? null : date
}

const DATE_TIME =
  /^(?:[A-Za-z]{3},\s*)?(\d{1,2})\s+(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+(\d{4})\s+(\d\d:\d\d)(?::(\d\d))?\s+([+-]\d{4}|GMT|UTC?|Z)$/i
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
const MAX_DATE_CHARACTERS = 100
