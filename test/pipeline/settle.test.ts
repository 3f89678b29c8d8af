import { expect, test } from "vitest"
import { outerFields } from "../../src/mime/compose.ts"
import { deferred, failed, settle } from "../../src/pipeline/settle.ts"
import { jobFor } from "../../src/queue/queue.ts"

const DAY = 86_400_000
const accepted = new Date("2026-11-21T10:00:00Z")
const after = (ms: number): Date => new Date(accepted.getTime() + ms)

test("a retry gets its time, and fails when the lifetime of the queue is over", () => {
  const job = jobFor("0123456789", "a@x.test", accepted)
  const result = deferred("a@x.test", "4.4.1", "no answer")
  const first = settle(result, job, accepted, after(1_000), 5 * DAY)
  expect(first.kind).toBe("retry")
  expect(first.kind === "retry" && first.at > after(1_000)).toBe(true)
  const last = settle(result, job, accepted, after(2 * DAY), DAY)
  expect(last).toMatchObject({
    kind: "failed",
    status: { action: "failed", status: "5.4.7", diagnostic: "delivery time expired; last: no answer" },
  })
  expect(settle(failed("a@x.test", "5.1.1", "nobody"), job, accepted, accepted, DAY).kind).toBe("failed")
})

test("a fault of ours is tried as long, and then waits for a person", () => {
  const job = jobFor("0123456789", "a@x.test", accepted)
  const result = { ...deferred("a@x.test", "4.3.5", "dkim key: chmod 600"), fault: true as const }
  expect(settle(result, job, accepted, after(1_000), 5 * DAY).kind).toBe("retry")
  expect(settle(result, job, accepted, after(6 * DAY), 5 * DAY)).toEqual({
    kind: "hold",
    reason: "dkim key: chmod 600",
  })
})

test("copying of the outer header ends where the header may have ended", () => {
  const copied = (header: string): string =>
    Buffer.concat(outerFields(Buffer.from(header, "latin1"), "clear")).toString("latin1")
  expect(copied("From x Mon\r\nA: 1\r\nB: 2\r\n more\r\nno field here\r\nPassword: hunter2\r\n\r\n")).toBe(
    "A: 1\r\nB: 2\r\n more\r\n",
  )
  expect(copied("A: 1\r\nSubject: last without line end")).toBe("A: 1\r\nSubject: last without line end\r\n")
  expect(copied("just text")).toBe("")
  expect(copied("")).toBe("")
})
