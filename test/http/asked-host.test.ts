import { once } from "node:events"
import { get } from "node:http"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { startAdminHttp } from "../../src/http/admin.ts"
import { createLog } from "../../src/log/written.ts"

let admin: Awaited<ReturnType<typeof startAdminHttp>>
beforeAll(async () => {
  admin = await startAdminHttp({
    ...{ host: "127.0.0.1", port: 0, names: ["mail.example.test", "worker"], log: createLog("silent"), contacts: null },
    source: { metrics: async () => "", troubles: () => [], status: async () => ({}) },
    diagnosis: { lookup: async () => ({}), policy: async () => ({}) },
  })
})
afterAll(() => admin.close())

/** fetch would write the field itself. */
async function status(path: string, host: string): Promise<number | undefined> {
  const request = get(`${admin.listeningOrigin}${path}`, { agent: false, headers: { host } })
  const [response] = await once(request, "response")
  response.resume()
  return response.statusCode
}

describe("the administration listener is asked by its own names only", () => {
  const rows: [host: string, status: number][] = [
    ["localhost", 200],
    ["LOCALHOST:9465", 200],
    ["127.0.0.1:9465", 200],
    ["[::1]:9465", 200],
    ["192.0.2.7:9465", 200],
    ["mail.example.test", 200],
    ["Mail.Example.Test.:9465", 200],
    ["worker:9465", 200],
    ["rebound.attacker.test:9465", 421],
    ["attacker.localhost", 421],
    ["localhost.attacker.test", 421],
    ["127.0.0.1.attacker.test", 421],
    ["mail.example.test@attacker.test", 421],
    ["[attacker.test]", 421],
    ["[127.0.0.1]", 421],
  ]
  for (const [host, wanted] of rows)
    test(`${host}: ${wanted}`, async () => {
      expect(await status("/readyz", host)).toBe(wanted)
    })

  test("on every path, whether there is something or not", async () => {
    const paths = ["/healthz", "/metrics", "/status", "/api/v1/keys/b@c.test", "/api/v1/policy?to=b@c.test", "/nothing"]
    const seen = await Promise.all(paths.map((path) => status(path, "attacker.test")))
    expect(seen).toEqual(paths.map(() => 421))
  })
})
