import { environment, format, type Row, reached } from "./report.ts"

/**
 * `npm run bench [NAME…]`: every measurement against a peer on the same machine in the same run, as medians and ratios.
 * Exit code 1 when a target was missed, so that a script notices; never part of `npm test`.
 */
const BENCHES: Readonly<Record<string, () => Promise<{ bench(): Promise<Row[]> }>>> = {
  recryption: () => import("./recryption.ts"),
  smtp: () => import("./smtp.ts"),
  queue: () => import("./queue.ts"),
  workers: () => import("./workers.ts"),
  protect: () => import("./protect.ts"),
  keys: () => import("./keys.ts"),
  mesh: () => import("./mesh-keys.ts"),
  meshMail: () => import("./mesh-mail.ts"),
  memory: () => import("./memory.ts"),
  imap: () => import("./imap.ts"),
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in BENCHES))
if (unknown.length > 0) {
  console.error(`bench: ${unknown.join(", ")}: unknown; there are ${Object.keys(BENCHES).join(", ")}`)
  process.exit(2)
}
console.log(environment())
let missed = 0
for (const [name, load] of Object.entries(BENCHES)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  process.stderr.write(`${name} ...\n`)
  for (const row of await (await load()).bench()) {
    console.log(format(row))
    if (reached(row) === false) missed++
  }
}
if (missed > 0) console.log(`${missed} target${missed === 1 ? "" : "s"} missed`)
process.exitCode = missed > 0 ? 1 : 0
