import { createServer } from "node:net"
import { expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { jobFor } from "../../src/queue/queue.ts"
import { Instance } from "../harness/instance.ts"

test("status without a server and beside one", async () => {
  await using instance = await Instance.create()
  await instance.must("account", "add", "alice@example.test")
  await instance.device("alice@example.test", "laptop")
  await leaveErrors(`${instance.folder}/data`)

  // One foreign program on a port of ours: accepting is all that is told.
  const other = createServer().listen(instance.port, "127.0.0.1")
  const before = JSON.parse(await instance.must("status", "--json"))
  await new Promise((resolve) => other.close(resolve))
  expect(before).toMatchObject({
    instance: instance.configuration,
    domains: ["example.test"],
    processes: [],
    queue: { ready: 0, delayed: 0, active: 0, held: 1, failed: 1 },
    accounts: 1,
    devices: 1,
    errors: [
      { kind: "held", recipient: "dave@elsewhere.test", text: "waits for a key" },
      { kind: "failed", recipient: "erin@elsewhere.test", text: "5.1.1 no such person" },
    ],
  })
  expect(before.listeners).toHaveLength(7)
  expect(before.listeners.slice(0, 2)).toEqual([
    { name: "mx", address: `127.0.0.1:${instance.port}`, accepts: true },
    { name: "submission", address: `127.0.0.1:${instance.port + 1}`, accepts: false, reason: "ECONNREFUSED" },
  ])

  await instance.serve()
  const [text, value] = await Promise.all([instance.must("status"), instance.must("status", "--json")])
  const beside = JSON.parse(value)
  expect(beside.processes).toMatchObject([{ pid: instance.pid, roles: expect.arrayContaining(["imap", "submission"]) }])
  expect(beside.listeners.map(({ accepts }: { accepts: boolean }) => accepts)).toEqual(Array(7).fill(true))
  expect(text).toMatch(/^instance .*\nrunning +process \d+ on .*imap.*\nlisteners +mx +127/)
  expect(text).toMatch(/queue +0 ready, 0 delayed, 0 active, 1 held; 1 failed\npeople +1 account, 1 device\nerrors +20/)
  expect(instance.log).not.toMatch(/"level":(?:40|50)/)
  expect(await instance.stop()).toBe(0)
})

/** One job that is held and one that failed; their messages need not be there. */
async function leaveErrors(data: string): Promise<void> {
  await using queue = openEmbeddedQueue(data, {
    now: () => new Date(),
    log: silentLog(),
    onEmptied: async () => undefined,
  })
  const at = new Date()
  await queue.add(
    jobFor("0000000000000001", "dave@elsewhere.test", at),
    jobFor("0000000000000002", "erin@elsewhere.test", at),
  )
  const done = new AbortController()
  let attempts = 0
  await queue.work(
    async ({ recipient }) => {
      attempts += 1
      if (attempts === 2) done.abort()
      if (recipient.startsWith("dave")) return { kind: "hold", reason: "waits for a key" }
      return { kind: "failed", status: { recipient, action: "failed", status: "5.1.1", diagnostic: "no such person" } }
    },
    { concurrency: 2, signal: done.signal },
  )
}
