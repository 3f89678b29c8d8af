import { cpus } from "node:os"

/** One line of the benchmark: ours against a peer, same machine, same run. */
export interface Row {
  readonly name: string
  readonly unit: string
  /** All measured values; medians are printed. */
  readonly ours: readonly number[]
  readonly peer: { readonly name: string; readonly values: readonly number[] } | null
  /** What the ratio ours/peer must reach (or, for a bare figure, the limit it must stay under); null: for information. */
  readonly target: { readonly kind: "ratio at least" | "at most"; readonly value: number } | null
}

/** Whether a row reaches its target; null when it has none. */
export function reached(row: Row): boolean | null {
  if (row.target === null) return null
  if (row.target.kind === "at most") return median(row.ours) <= row.target.value
  return row.peer !== null && median(row.ours) / median(row.peer.values) >= row.target.value
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** A row as text: median, spread and count for both sides, their ratio, the target. */
export function format(row: Row): string {
  const peer = row.peer
    ? `  ${row.peer.name}: ${figure(row.peer.values)}  ratio ${(median(row.ours) / median(row.peer.values)).toFixed(2)}`
    : ""
  const target = row.target ? `  [${row.target.kind} ${row.target.value}: ${reached(row) ? "reached" : "MISSED"}]` : ""
  return `${row.name}: ${figure(row.ours)} ${row.unit}${peer}${target}`
}

/** Without the machine a figure says nothing. */
export function environment(): string {
  return `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, ${new Date().toISOString()}`
}

function figure(values: readonly number[]): string {
  const spread =
    values.length > 1 ? ` (${round(Math.min(...values))} to ${round(Math.max(...values))}, n=${values.length})` : ""
  return `${round(median(values))}${spread}`
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
