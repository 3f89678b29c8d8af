import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { KeptKeyMemory } from "../../src/store/key-memory.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { eventually, Instance } from "../harness/instance.ts"

test("that a correspondent's key ends is told to postmaster by mail, and listed", async () => {
  await using gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  const now = new Date()
  const state = openEmbeddedState(join(gateway.folder, "data"))
  new KeptKeyMemory(state).saw(
    "bob@elsewhere.test",
    [
      {
        ...{ format: "smime", lineage: "l", source: "pinned", trust: "pinned", fingerprint: "abcd" },
        expiresAt: new Date(now.getTime() + 9.5 * 86_400e3),
      },
    ],
    now,
  )
  state.close()
  const about = "certificate of bob@elsewhere.test"
  const { ending } = JSON.parse(await gateway.must("status", "--json")) as { readonly ending: readonly object[] }
  expect(ending).toMatchObject([{ about, fingerprint: "abcd" }])
  expect(await gateway.must("status")).toMatch(
    /^ending +\S+ {2}certificate of bob@elsewhere\.test: ask for the new one/m,
  )
  expect(Buffer.from((await gateway.postern("check", "--no-dns")).stdout).toString()).toMatch(
    /^note +certificate of bob@elsewhere\.test: ends in 10 days/m,
  )
  const folder = join(gateway.folder, "data", "mail", "alice@example.test", "Maildir", "new")
  const told = () => readdirSync(folder).map((name) => readFileSync(join(folder, name), "latin1"))
  await gateway.serve()
  await eventually("the warning in postmaster's mailbox", () => {
    return existsSync(folder) && told().some((text) => text.includes("A key of a correspondent ends in 10 days"))
  })
  expect(told()).toHaveLength(1)
  expect(gateway.log.match(/"key\.ending"/g)).toHaveLength(1)
})
