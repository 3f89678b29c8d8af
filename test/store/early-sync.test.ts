import { closeSync, openSync } from "node:fs"
import { expect, test } from "vitest"
import { EarlySync } from "../../src/store/early-sync.ts"
import { temporaryFolder } from "../harness/peers.ts"

const MANY = 40_000_000

test("a file that takes all is done when it ends", async () => {
  await using folder = await temporaryFolder()
  const file = openSync(folder.file("long"), "w")
  {
    await using early = new EarlySync(file)
    for (let count = 0; count < 5; count++) early.wrote(MANY)
    await early.end()
  }
  closeSync(file)
})

test("what the disk refuses is told at the end, and its owner may close the file all the same", async () => {
  // Nothing can be synced there: EINVAL.
  const file = openSync("/dev/null", "w")
  {
    await using early = new EarlySync(file)
    early.wrote(MANY)
    await expect(early.end()).rejects.toThrow("EINVAL")
    early.wrote(MANY)
    await expect(early.end()).rejects.toThrow("EINVAL")
  }
  closeSync(file)
})

test("a short file is left to its owner", async () => {
  const file = openSync("/dev/null", "w")
  await using early = new EarlySync(file)
  early.wrote(MANY / 40)
  await early.end()
  closeSync(file)
})
