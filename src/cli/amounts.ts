/** A length of time in its largest unit, rounded down: `42s`, `12m`, `3h`, `5d`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  return seconds < 86_400 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`
}

/** Octets as people read them, in powers of ten: `734 octets`, `12 KB`, `3.4 MB`. */
export function sizeText(octets: number): string {
  if (octets < 1_000) return `${octets} octets`
  return octets < 1_000_000 ? `${Math.round(octets / 1_000)} KB` : `${(octets / 1_000_000).toFixed(1)} MB`
}
