import { join } from "node:path"
import { expect, test } from "vitest"
import { run } from "../harness/peers.ts"

const LOG = join(import.meta.dirname, "..", "..", "src", "log", "written.ts")

/** What a process writes to its standard error by itself: each write, as the events of its lines. */
async function writes(program: string): Promise<string[][]> {
  const script = `
    import fs from "node:fs"
    const { writeSync } = fs
    const { createGatheringLog } = await import(${JSON.stringify(LOG)})
    const log = createGatheringLog("info")
    fs.writeSync = (fd, text, ...rest) => {
      const events = text.trim().split("\\n").map((line) => JSON.parse(line).event)
      writeSync(1, JSON.stringify(events) + "\\n")
      return writeSync(fd, text, ...rest)
    }
    ${program}`
  const { code, stdout, stderr } = await run(process.execPath, ["--input-type=module", "--eval", script])
  expect(code, stderr).toBe(0)
  return Buffer.from(stdout)
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as string[])
}

test("lines that come within a moment are one write, a moment later", async () => {
  const waited = `log.info("one"); log.with({ account: "a" }).info("two")
    while (written === 0) await new Promise((resolve) => setImmediate(resolve))
    log.info("three")`
  const counting = `let written = 0; const { writeSync: write } = fs; fs.writeSync = (...all) => { written++; return write(...all) }`
  expect(await writes(`${counting}; ${waited}`)).toEqual([["one", "two"], ["three"]])
})

test("a warning goes out at once, behind what waits", async () => {
  expect(
    await writes(`log.info("one"); log.warn("two"); log.info("three"); log.error("four", {}, new Error("x"))`),
  ).toEqual([
    ["one", "two"],
    ["three", "four"],
  ])
})

test("what waits goes out when the process ends", async () => {
  expect(await writes(`log.info("one"); process.exit(0)`)).toEqual([["one"]])
})
