import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { startAdminHttp } from "../../src/http/admin.ts"
import { type Diagnosis, MAX_ASKING } from "../../src/http/diagnosis.ts"
import { createLog } from "../../src/log/written.ts"
import { parseAddress } from "../../src/message/address.ts"

type Asked = Parameters<Diagnosis["policy"]>[0] | { readonly address: string; readonly sender: string | null }

const asked: Asked[] = []
const waiting: (() => void)[] = []
const diagnosis: Diagnosis = {
  async lookup(address, sender) {
    asked.push({ address, sender })
    parseAddress(address)
    if (address === "broken@example.test") throw new Error("what only the log may know")
    if (address === "slow@example.test") await new Promise<void>((resolve) => waiting.push(resolve))
    return { address }
  },
  async policy(trial) {
    asked.push(trial)
    for (const recipient of trial.recipients) parseAddress(recipient)
    return { sender: trial.sender }
  },
}
let admin: Awaited<ReturnType<typeof startAdminHttp>>

beforeAll(async () => {
  const source = { metrics: async () => "", troubles: () => [], status: async () => ({}) }
  admin = await startAdminHttp({
    host: "127.0.0.1",
    port: 0,
    names: ["mail.example.test"],
    source,
    diagnosis,
    contacts: null,
    log: createLog("silent"),
  })
})
afterAll(() => admin.close())

const ask = (path: string, headers: Readonly<Record<string, string>> = {}) =>
  fetch(`${admin.listeningOrigin}/api/v1/${path}`, { headers })

const LONG = `${"é".repeat(32)}@${"a".repeat(63)}.${"b".repeat(63)}.test`
const asks: [name: string, path: string, what: Asked][] = [
  ["an address", "keys/bob@example.test", { address: "bob@example.test", sender: null }],
  ["one with escapes", "keys/a%2Fb%25@example.test", { address: "a/b%@example.test", sender: null }],
  ["one that is as long as can be", `keys/${encodeURIComponent(LONG)}`, { address: LONG, sender: null }],
  ["from somebody", "keys/b@c.test?from=a@example.test", { address: "b@c.test", sender: "a@example.test" }],
  ["policy", "policy?to=b@c.test", { sender: null, recipients: ["b@c.test"], subject: null }],
  [
    "policy for several",
    "policy?from=a@b.test&to=b@c.test&to=d%2Be@c.test&subject=a+b",
    { sender: "a@b.test", recipients: ["b@c.test", "d+e@c.test"], subject: "a b" },
  ],
]

describe("diagnosis at the administration listener", () => {
  for (const [name, path, what] of asks)
    test(`is asked: ${name}`, async () => {
      expect((await ask(path)).status).toBe(200)
      expect(asked.at(-1)).toEqual(what)
    })

  const refusals: [name: string, path: string, status: number, code: string][] = [
    ["what is no address", "keys/nobody", 400, "ADDRESS_SYNTAX"],
    ["two senders", "keys/b@c.test?from=a@b.test&from=b@b.test", 400, "USAGE"],
    ["nobody to write to", "policy?from=a@b.test", 400, "USAGE"],
    ["too many to write to", `policy?${"to=b@c.test&".repeat(21)}`, 400, "USAGE"],
    ["a recipient that is no address", "policy?to=b", 400, "ADDRESS_SYNTAX"],
    ["a fault of ours, without its words", "keys/broken@example.test", 500, "INTERNAL"],
  ]
  for (const [name, path, status, code] of refusals)
    test(`refuses in JSON: ${name}`, async () => {
      const response = await ask(path)
      const text = await response.text()
      expect([response.status, JSON.parse(text).error.code]).toEqual([status, code])
      expect(text).not.toContain("only the log")
    })

  test("a page of another site in a browser here has nobody looked up", async () => {
    const before = asked.length
    expect((await ask("keys/b@c.test", { "sec-fetch-site": "cross-site" })).status).toBe(403)
    expect(asked.length).toBe(before)
  })

  test(`no more than ${MAX_ASKING} at a time; the next is told to come again`, async () => {
    const before = asked.length
    const slow = Array.from({ length: MAX_ASKING }, () => ask("keys/slow@example.test"))
    await expect.poll(() => asked.length).toBe(before + MAX_ASKING)
    const refused = await ask("keys/bob@example.test")
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "3"])
    for (const go of waiting.splice(0)) go()
    expect((await Promise.all(slow)).map(({ status }) => status)).toEqual(slow.map(() => 200))
    expect((await ask("keys/bob@example.test")).status).toBe(200)
  })
})
