import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { startAdminHttp } from "../../src/http/admin.ts"
import type { ContactAnswer } from "../../src/http/contacts.ts"
import { silentLog } from "../../src/log/log.ts"

const TOKEN = "abc-DEF_123"
const answered: [string, string, ContactAnswer][] = []
let admin: Awaited<ReturnType<typeof startAdminHttp>>

beforeAll(async () => {
  admin = await startAdminHttp({
    host: "127.0.0.1",
    port: 0,
    names: [],
    source: { metrics: async () => "", troubles: () => [], status: async () => ({}) },
    diagnosis: { lookup: async () => ({}), policy: async () => ({}) },
    contacts: {
      isToken: (token) => token === TOKEN,
      list: (account) => ({ account }),
      answer(account, who, answer) {
        if (who === "unknown") throw new GatewayError("CONTACT_UNKNOWN", "contact: unknown")
        if (who === "broken") throw new Error("what only the log may know")
        if (answer.by === "mallory@b.test") throw new GatewayError("CONTACT_FORBIDDEN", "contacts: not his")
        answered.push([account, who, answer])
      },
    },
    log: silentLog(),
  })
})
afterAll(() => admin.close())
beforeEach(() => void (answered.length = 0))

const authorization = `Bearer ${TOKEN}`
const ask = (path: string, body?: string, headers: Readonly<Record<string, string>> = { authorization }) =>
  fetch(`${admin.listeningOrigin}/api/v1/contacts/${path}`, {
    headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { method: "POST", body }),
  })

describe("contacts at the administration listener", () => {
  test("are listed and answered", async () => {
    expect(await (await ask("a@b.test")).json()).toEqual({ account: "a@b.test" })
    const response = await ask("a@b.test/MAAA-BBBB", '{ "answer": "accept", "by": "c@b.test", "name": "Carol" }')
    expect([response.status, await response.json()]).toEqual([200, { answer: "accept" }])
    await ask("a@b.test/c%2Bd@e.test", '{ "answer": "block" }')
    expect(answered).toEqual([
      ["a@b.test", "MAAA-BBBB", { answer: "accept", by: "c@b.test", name: "Carol" }],
      ["a@b.test", "c+d@e.test", { answer: "block", by: null, name: null }],
    ])
  })

  test.each([
    ["no token", {}],
    ["another", { authorization: "Bearer other" }],
    ["none of this kind", { authorization: `Basic ${TOKEN}` }],
    ["more than one", { authorization: `Bearer ${TOKEN} ${TOKEN}` }],
  ])("are nobody's who shows %s", async (_, headers) => {
    for (const [path, body] of [["a@b.test"], ["a@b.test/c@d.test", '{ "answer": "accept" }']] as const)
      expect((await ask(path, body, headers)).status).toBe(401)
    expect(answered).toEqual([])
  })

  test("are not for a page of another site, whatever it knows", async () => {
    const headers = { authorization, "sec-fetch-site": "cross-site" }
    expect((await ask("a@b.test/c@d.test", '{ "answer": "accept" }', headers)).status).toBe(403)
    expect(answered).toEqual([])
  })

  test.each([
    ["no answer", "c@d.test", "{}", 400, "USAGE"],
    ["an answer that is none", "c@d.test", '{ "answer": "maybe" }', 400, "USAGE"],
    ["a name that is no text", "c@d.test", '{ "answer": "accept", "name": 1 }', 400, "USAGE"],
    ["a list", "c@d.test", "[]", 400, "USAGE"],
    ["somebody unknown", "unknown", '{ "answer": "accept" }', 404, "CONTACT_UNKNOWN"],
    ["somebody who may not", "c@d.test", '{ "answer": "accept", "by": "mallory@b.test" }', 403, "CONTACT_FORBIDDEN"],
    ["a fault of ours, without its words", "broken", '{ "answer": "accept" }', 500, "INTERNAL"],
  ])("refuse in JSON: %s", async (_, who, body, status, code) => {
    const response = await ask(`a@b.test/${who}`, body)
    const text = await response.text()
    expect([response.status, JSON.parse(text).error.code]).toEqual([status, code])
    expect(text).not.toContain("only the log")
  })
})
