/** PURE. Which of the known words somebody has meant who wrote this one: of as many parts, and one or two slips away. @returns null: none is near */
export function nearest(written: string, known: Iterable<string>): string | null {
  const slips = written.length < 8 ? 1 : 2
  const parts = written.split(".").length
  const near = [...known]
    .filter((word) => word.split(".").length === parts && Math.abs(word.length - written.length) <= slips)
    .map((word) => ({ word, away: distance(written, word) }))
    .filter(({ away }) => away <= slips)
  return near.toSorted((a, b) => a.away - b.away)[0]?.word ?? null
}

/** Characters to insert, remove or replace (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
