import { createServer } from "node:net"
import { expect, test } from "vitest"
import { written } from "../../src/config/values.ts"
import { claim } from "../../src/wire/shared-ports.ts"

test("a port that others share already is not shared with them, unless they are ours", async () => {
  const free = await claim("imap", { host: "127.0.0.1", port: 0 })
  const others = createServer()
  await new Promise<void>((resolve) => others.listen({ ...free, reusePort: true }, resolve))
  const refused = expect(claim("imap", free)).rejects
  await refused.toMatchObject({
    code: "LISTEN_FAILED",
    message: expect.stringContaining(`imap: cannot listen on ${written(free)}: `),
  })
  expect(await claim("imap", free, new Set([written(free)]))).toEqual(free)
  await new Promise((resolve) => others.close(resolve))
  expect(await claim("imap", free)).toEqual(free)
})

test.each([
  [{ host: "127.0.0.1", port: 25 }, "127.0.0.1:25"],
  [{ host: "::1", port: 993 }, "[::1]:993"],
])("%j is written %s", (address, text) => {
  expect(written(address)).toBe(text)
})
