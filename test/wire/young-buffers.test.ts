import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { expect, test } from "vitest"

const [MODULE, HEAP] = ["young-buffers", "heap"].map(
  (name) => new URL(`../../src/wire/${name}.ts`, import.meta.url).href,
)

/** Collections of everything while 600 MB come in through a socket, in a process of its own. */
async function collections(isWatched: boolean): Promise<number> {
  const program = `
    import { createServer, connect } from "node:net"
    import { once } from "node:events"
    import { PerformanceObserver } from "node:perf_hooks"
    import { roomyHeap } from ${JSON.stringify(HEAP)}
    import { youngBuffers } from ${JSON.stringify(MODULE)}
    using heap = roomyHeap()
    using watching = ${isWatched} ? youngBuffers() : null
    let count = 0
    const observer = new PerformanceObserver((list) => {
      for (const { detail } of list.getEntries()) if (detail.kind === 4) count++
    })
    observer.observe({ entryTypes: ["gc"] })
    // What lives, and is marked by each of them.
    const live = Array.from({ length: 200_000 }, (_, at) => ({ at }))
    const piece = Buffer.alloc(65_536)
    const server = createServer(async (socket) => {
      for (let left = 6e8; left > 0; left -= 64 * piece.length) {
        for (let count = 0; count < 64; count++) if (!socket.write(piece)) await once(socket, "drain")
        // As fast as mail comes, and no faster.
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      socket.end()
    }).listen(0, "127.0.0.1")
    await once(server, "listening")
    let octets = 0
    for await (const read of connect(server.address().port, "127.0.0.1")) octets += read.length
    await new Promise((resolve) => setTimeout(resolve, 50))
    process.stdout.write(JSON.stringify({ count, octets, live: live.length }))
    process.exit(0)`
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program])
  const told = JSON.parse(stdout) as { readonly count: number; readonly octets: number }
  expect(told.octets).toBeGreaterThanOrEqual(6e8)
  return told.count
}

test("buffers that pass in numbers are collected while they are young, and not with everything", async () => {
  const [watched, left] = [await collections(true), await collections(false)]
  expect(left).toBeGreaterThan(5)
  expect(watched).toBeLessThan(left)
})
