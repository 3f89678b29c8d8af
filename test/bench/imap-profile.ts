/** What of a .cpuprofile (Chrome DevTools protocol, Profiler.Profile) is looked at. */
export interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame }[]
  readonly samples: readonly number[]
  /** Microseconds from one sample to the next. */
  readonly timeDeltas: readonly number[]
}

interface CallFrame {
  readonly functionName: string
  readonly url: string
  /** From 0. */
  readonly lineNumber: number
}

const SHOWN = 40

/** The functions with the most time of their own, as shares of the time that was not idle. */
export function selfTimes({ nodes, samples, timeDeltas }: Profile): string {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const times = new Map<string, number>()
  for (const [index, id] of samples.entries()) {
    const name = names.get(id) ?? "?"
    times.set(name, (times.get(name) ?? 0) + (timeDeltas[index] ?? 0) / 1000)
  }
  const idle = times.get("(idle)") ?? 0
  times.delete("(idle)")
  const busy = [...times.values()].reduce((sum, time) => sum + time, 0)
  const lines = [...times]
    .sort(([, a], [, b]) => b - a)
    .slice(0, SHOWN)
    .map(
      ([name, time]) => `${((100 * time) / busy).toFixed(1).padStart(6)} % ${time.toFixed(0).padStart(8)} ms  ${name}`,
    )
  return [`busy ${busy.toFixed(0)} ms, idle ${idle.toFixed(0)} ms`, ...lines].join("\n")
}

function nameOf({ functionName, url, lineNumber }: CallFrame): string {
  const file = url.replace(/^.*\/(?=src\/|node_modules\/)/, "")
  return `${functionName || "(anonymous)"}${file === "" ? "" : ` ${file}:${lineNumber + 1}`}`
}
