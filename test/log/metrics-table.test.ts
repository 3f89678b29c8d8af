import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { Counters } from "../../src/log/counters.ts"

/** The rows of docs/OPERATIONS.md, "Metrics". */
const told = [...page("docs/OPERATIONS.md").matchAll(/^\| `(postern_\w+)` \| (\w+) \|([^|]*)\|[^|]+\|[^|]*\|$/gm)].map(
  ([, name = "", kind = "", labels = ""]) => ({
    name,
    kind,
    // `label`, or `label`: its words; another
    labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label).filter((label) => label !== "other"),
  }),
)

describe("docs/OPERATIONS.md", () => {
  test("has a row for every metric that src names, and for no other", () => {
    const named = readdirSync("src", { recursive: true, encoding: "utf8" })
      // Databases have names that look like metrics.
      .filter((file) => file.endsWith(".ts") && !file.startsWith("store/postgres"))
      .flatMap((file) => page(`src/${file}`).match(/\bpostern_[a-z_]+\b/g) ?? [])
    expect(told.map(({ name }) => name).sort()).toEqual([...new Set(named)].sort())
  })

  test("says what kind each is, and its labels; the others are gauges", async () => {
    const counters = new Counters()
    const text = await counters.text()
    const kinds = new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name = "", kind = ""]) => [name, kind]))
    for (const { name, kind } of told) expect([name, kind]).toEqual([name, kinds.get(name) ?? "gauge"])
    expect(told.flatMap(({ name, labels }) => (labels.length === 0 ? [name] : []))).toEqual(
      told.flatMap(({ name }) => (new RegExp(`^${name}(?:_count)? 0$`, "m").test(text) ? [name] : [])),
    )
  })

  test("nothing is named and never counted", () => {
    const uses = readdirSync("src", { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && file !== "log/counters.ts")
      .map((file) => page(`src/${file}`))
      .join("\n")
    expect(told.flatMap(({ name }) => (uses.includes(`"${name}"`) ? [] : [name]))).toEqual([])
  })
})

function page(path: string): string {
  return readFileSync(path, "utf8")
}
