import { expect, test } from "vitest"
import { queueName, refuseOtherQueues } from "../../src/queue/one-queue.ts"
import { Presence } from "../../src/store/presence.ts"
import { thisProcess } from "../../src/store/process.ts"
import { openState } from "../../src/store/state.ts"
import { temporaryFolder } from "../harness/peers.ts"

const NOW = new Date("2026-01-02T03:04:05Z")
const [HOST] = thisProcess().split("/")

test("a data folder keeps its name, another has another, and Redis is one for all", async () => {
  await using folder = await temporaryFolder()
  const embedded = (data: string) => queueName({ data: folder.file(data), queue: { kind: "embedded" } })
  const redis = { kind: "redis", url: "redis://127.0.0.1", password: null, caFile: null } as const
  expect(embedded("one")).toBe(embedded("one"))
  expect(embedded("one")).not.toBe(embedded("two"))
  expect(queueName({ data: folder.file("three"), queue: redis })).toBe("redis")
})

test.each([
  ["another queue on another machine", "elsewhere/1/1/x/other", 0, "refused"],
  ["another queue in a process of this machine", `${HOST}/${process.ppid}/0/x/other`, 0, "refused"],
  ["this queue", "elsewhere/1/1/x/mine", 0, "starts"],
  ["another queue, silent for too long", "elsewhere/1/1/x/other", 20_001, "starts"],
  ["another queue, of a process that is dead", `${HOST}/99999999/1/x/other`, 0, "starts"],
  ["another queue, of what retires in this process", `${thisProcess()}/x/other`, 0, "starts"],
  ["no queue that it tells of", "elsewhere/1/1/x", 0, "starts"],
])("beside %s (%s, silent for %i ms): %s", async (_who, name, silentMs, want) => {
  await using folder = await temporaryFolder()
  const state = openState({ data: folder.path, store: { kind: "embedded" } })
  using _presence = new Presence(state, { roles: ["worker"], queue: "mine", now: () => NOW, onError: () => undefined })
  state.sql.run`INSERT INTO process VALUES (${name}, 'worker', 0, ${NOW.getTime() - silentMs})`
  const start = () => refuseOtherQueues(state, "mine", NOW)
  if (want === "refused") expect(start).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }))
  else expect(start).not.toThrow()
  state.close()
})
