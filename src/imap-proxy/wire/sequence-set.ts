/** One range; "*" is the largest number in use. `3` is first 3, last 3; `9:2` is kept in the order sent. */
export interface SequenceRange {
  readonly first: number | "*"
  readonly last: number | "*"
}

/** `$` is the saved search result (RFC 5182). */
export type SequenceSet = "$" | readonly SequenceRange[]

/** RFC 9051 §9 sequence-set. @returns null when it is none. */
export function parseSequenceSet(text: string): SequenceSet | null {
  if (text === "$") return "$"
  const ranges: SequenceRange[] = []
  for (const piece of text.split(",")) {
    const found = /^([1-9]\d{0,9}|\*)(?::([1-9]\d{0,9}|\*))?$/.exec(piece)
    const first = found?.[1]
    if (first === undefined) return null
    const last = found?.[2] ?? first
    ranges.push({ first: number(first), last: number(last) })
  }
  return ranges
}

/** Prints what parseSequenceSet read. */
export function formatSequenceSet(set: SequenceSet): string {
  if (set === "$") return "$"
  return set.map(({ first, last }) => (first === last ? `${first}` : `${first}:${last}`)).join(",")
}

/** The ranges as numbers in ascending order, `*` being `largest` (so `*` matches at least the last message; RFC 9051 §9). */
export function resolveSequenceSet(
  set: readonly SequenceRange[],
  largest: number,
): readonly [low: number, high: number][] {
  return set.map((range) => {
    const first = range.first === "*" ? largest : range.first
    const last = range.last === "*" ? largest : range.last
    return first <= last ? [first, last] : [last, first]
  })
}

function number(text: string): number | "*" {
  return text === "*" ? "*" : Number(text)
}
