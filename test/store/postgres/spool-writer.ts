import { writeSync } from "node:fs"
import type { PostgresStore } from "../../../src/store/postgres/connection.ts"
import { openPostgresSpool } from "../../../src/store/postgres/open-spool.ts"
import { newEntry } from "../conformance/new-entry.ts"

/** What a machine that only accepts mail does, as fast as it can, until it is killed. Says each id that it has promised. */
const store = JSON.parse(process.argv[2] ?? "") as PostgresStore
const { spool } = await openPostgresSpool(store, null, { accepts: true, now: () => new Date() })

async function* content(octets: number): AsyncIterable<Uint8Array> {
  for (let left = octets; left > 0; left -= 50_000) yield new Uint8Array(Math.min(left, 50_000)).fill(octets % 251)
}

await Promise.all(
  Array.from({ length: 6 }, async (_, writer) => {
    for (let octets = 1 + writer; ; octets = (octets * 7) % 1_000_003)
      writeSync(1, `${await spool.write(newEntry(), content(octets))} ${octets}\n`)
  }),
)
