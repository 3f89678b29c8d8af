/** RFC 5322 §3.3 date-time, in UTC: `Fri, 02 Jan 2026 03:04:05 +0000`. */
export function formatDateTime(date: Date): string {
  return date.toUTCString().replace("GMT", "+0000")
}
