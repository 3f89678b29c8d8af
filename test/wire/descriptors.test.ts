import { expect, test } from "vitest"
import { mustRun } from "../harness/peers.ts"

/** How many connections a process with this limit of open files allows, for a store of each kind. */
async function affordable(files: number, processes: number): Promise<number[]> {
  const program = `import { affordableConnections } from "./src/wire/descriptors.ts"
    console.log(JSON.stringify(["embedded", "imap"].map((kind) => affordableConnections({ imap: { kind } }, ${processes}))))`
  const line = `ulimit -n ${files}; exec "$0" --input-type=module -e "$1"`
  return JSON.parse(Buffer.from(await mustRun("sh", ["-c", line, process.execPath, program])).toString())
}

test("no more connections than there are open files for: one each, two with a server behind the proxy", async () => {
  const rows: [files: number, processes: number, wanted: number[]][] = [
    [1_000, 1, [800, 400]],
    [20_000, 2, [39_600, 19_800]],
    [200, 1, [1, 1]],
  ]
  const found = await Promise.all(rows.map(([files, processes]) => affordable(files, processes)))
  expect(found).toEqual(rows.map(([, , wanted]) => wanted))
})
