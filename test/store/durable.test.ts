import { existsSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, onTestFinished, test } from "vitest"
import { makePrivateFolder } from "../../src/store/durable.ts"
import { temporaryFolder } from "../harness/peers.ts"

async function place(): Promise<string> {
  const folder = await temporaryFolder()
  onTestFinished(() => folder[Symbol.asyncDispose]())
  return folder.file("place")
}

test("a private folder is made with those above it, and left as it is where it is there", async () => {
  const path = join(await place(), "a", "b")
  for (let times = 0; times < 2; times++) makePrivateFolder(path)
  expect(statSync(path).mode & 0o777).toBe(0o700)
  symlinkSync(path, `${path}-too`)
  makePrivateFolder(`${path}-too`)
  expect(existsSync(`${path}-too`)).toBe(true)
})

test("where none can be made that is said at once", async () => {
  const path = await place()
  writeFileSync(path, "")
  expect(() => makePrivateFolder(path)).toThrow("EEXIST")
  expect(() => makePrivateFolder(join(path, "in-a-file"))).toThrow("ENOTDIR")
  // There Node's own recursion would not come back.
  expect(() => makePrivateFolder("/proc/none/of/these")).toThrow("ENOENT")
})
