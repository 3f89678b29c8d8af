import { once } from "node:events"
import { Worker } from "node:worker_threads"
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { openEmbeddedAudit } from "../../src/queue/embedded-audit.ts"
import { RedisQueue } from "../../src/queue/redis/redis-queue.ts"
import { RedisServer } from "../../src/queue/redis/server.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { Redis, redisPossible } from "../harness/redis.ts"
import {
  administrationConformance,
  type Driver,
  fairnessConformance,
  queueConformance,
  TWO_AT_SLOW,
} from "./conformance.ts"

const START = new Date("2026-01-02T03:04:05Z")
let redis: Redis

/** A queue on an empty server, whose clock is the process's: BullMQ has no other. */
async function open(): Promise<Driver<RedisQueue>> {
  await redis.command("FLUSHALL")
  const folder = await temporaryFolder()
  const clock = { now: START }
  const watch = vi.spyOn(Date, "now").mockImplementation(() => clock.now.getTime())
  const emptied: string[] = []
  const queue = await queueOn(redis, folder, { now: () => clock.now, emptied })
  return {
    queue,
    clock,
    emptied,
    async close() {
      watch.mockRestore()
      await queue[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function queueOn(
  { url }: { readonly url: string },
  folder: TemporaryFolder,
  { now, emptied = [] }: { readonly now: () => Date; readonly emptied?: string[] },
): Promise<RedisQueue> {
  const server = await RedisServer.connect({ kind: "redis", url, password: null, caFile: null }, silentLog())
  const onEmptied = async (id: string) => void emptied.push(id)
  return RedisQueue.open(server, openEmbeddedAudit(folder.path, "at once", silentLog()), {
    now,
    log: silentLog(),
    onEmptied,
    destinations: TWO_AT_SLOW,
  })
}

describe.skipIf(!redisPossible)("on Redis", () => {
  beforeAll(async () => {
    redis = await Redis.start()
  })

  afterAll(() => redis?.[Symbol.asyncDispose]())

  queueConformance("the queue on Redis", open)
  administrationConformance("the queue on Redis", open)
  fairnessConformance("the queue on Redis", open)

  test("a thread whose Redis is gone ends all the same", async () => {
    const thread = new Worker(new URL("./redis-thread.ts", import.meta.url), { workerData: redis.url })
    const ended = once(thread, "exit")
    expect(await once(thread, "message")).toEqual([true])
    await redis.kill()
    thread.postMessage("end")
    expect(await ended).toEqual([0])
    await redis.start()
  })
})
