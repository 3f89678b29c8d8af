import { createServer } from "node:net"
import { expect, test } from "vitest"
import { unsharedPort } from "../../src/imap-proxy/listener.ts"

test("a port that others share already is not shared with them", async () => {
  const port = await unsharedPort("127.0.0.1", 0)
  const others = createServer()
  await new Promise<void>((resolve) => others.listen({ host: "127.0.0.1", port, reusePort: true }, resolve))
  const refused = expect(unsharedPort("127.0.0.1", port)).rejects
  await refused.toMatchObject({ code: "LISTEN_FAILED", message: `imap: cannot listen on 127.0.0.1:${port}` })
  await new Promise((resolve) => others.close(resolve))
  expect(await unsharedPort("127.0.0.1", port)).toBe(port)
})
