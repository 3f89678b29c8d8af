import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { expect, test } from "vitest"

const MODULE = new URL("../../src/store/young-garbage.ts", import.meta.url).href

/** The most that lay in buffers while 200 MB went by in pieces, in a process of its own. */
async function most(isTold: boolean): Promise<number> {
  const program = `
    import { havePassed } from ${JSON.stringify(MODULE)}
    let most = 0
    for (let at = 0; at < 3_200; at++) {
      const piece = Buffer.alloc(65_536)
      if (${isTold}) havePassed(piece.length)
      most = Math.max(most, process.memoryUsage().arrayBuffers)
      await new Promise(setImmediate)
    }
    process.stdout.write(String(most))`
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program])
  return Number(stdout)
}

test("what has passed is given back long before V8 asks for it", async () => {
  const [told, left] = await Promise.all([most(true), most(false)])
  expect(told).toBeLessThan(24_000_000)
  expect(left).toBeGreaterThan(32_000_000)
})

test("threads that collect for the first time at the same time take nothing from one another", async () => {
  // Each import under another name is one for the first time.
  const program = `
    import { Worker } from "node:worker_threads"
    import { once } from "node:events"
    const source = '(async () => { for (let count = 0; count < 20; count++) (await import("${MODULE}?" + count)).collectYoung() })()'
    const ends = Array.from({ length: 4 }, () => once(new Worker(source, { eval: true }), "exit"))
    process.stdout.write(JSON.stringify((await Promise.all(ends)).flat()))`
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program])
  expect(JSON.parse(stdout)).toEqual([0, 0, 0, 0])
})

test("nobody else gets the function that collects", async () => {
  const program = `
    import { collectYoung } from ${JSON.stringify(MODULE)}
    import { runInNewContext } from "node:vm"
    collectYoung()
    process.stdout.write([typeof gc, runInNewContext("typeof gc")].join(" "))`
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program])
  expect(stdout).toBe("undefined undefined")
})
