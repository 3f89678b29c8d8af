import { afterAll, afterEach, beforeAll, expect, test } from "vitest"
import { armor } from "../../../src/crypto/openpgp/armor.ts"
import { readCertificate } from "../../../src/crypto/openpgp/certificate.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { confirmAtVks } from "../../../src/profiles/sources/vks-confirm.ts"
import { WebHosts } from "../../harness/web-hosts.ts"
import { makeAlice } from "../../identity/people.ts"

const HOST = "keys.example"
const TOKEN = "a".repeat(43)
const ALICE = parseAddress("alice@example.test")
const LINK = `https://${HOST}/verify/${TOKEN}`
const BY_EMAIL = `https://${HOST}/vks/v1/by-email/alice%40example.test`
let web: WebHosts
let certificate: string
let fingerprint: string

beforeAll(async () => {
  web = await WebHosts.open([HOST])
  const binary = (await makeAlice("openpgp")).person.openpgp?.certificate ?? new Uint8Array()
  certificate = Buffer.from(armor(binary, "PUBLIC KEY BLOCK")).toString()
  fingerprint = Buffer.from(readCertificate(binary).fingerprint).toString("hex")
})
afterEach(() => web.reset())
afterAll(async () => web?.[Symbol.asyncDispose]())

const rows: [
  name: string,
  link: number,
  found: () => readonly [status: number, body: string],
  because: string | null,
  asked: readonly string[],
][] = [
  ["the certificate is found by the address", 200, () => [200, certificate], null, [LINK, BY_EMAIL]],
  ["a link that is over", 400, () => [200, certificate], "its link answers 400", [LINK]],
  ["a link that leads on", 302, () => [200, certificate], "its link answers 302", [LINK]],
  ["nothing is found", 200, () => [404, "No key"], "does not give this certificate", [LINK, BY_EMAIL]],
  ["a page is found", 200, () => [200, "<html>"], "does not give this certificate", [LINK, BY_EMAIL]],
]
test.each(rows)("a link is followed once, with POST: %s", async (_name, link, found, because, asked) => {
  const methods: (string | undefined)[] = []
  web.answer = (request, response) => {
    methods.push(request.method)
    const isLink = request.url?.startsWith("/verify/") === true
    const [status, body] = isLink ? ([link, "page"] as const) : found()
    response.writeHead(status, { "content-length": Buffer.byteLength(body), location: "/elsewhere" }).end(body)
  }
  const given = { token: TOKEN, fingerprint }
  const confirmed = await confirmAtVks({ host: HOST, ask: web.client() }, ALICE, given, AbortSignal.timeout(10_000))
  expect(confirmed).toEqual(
    because === null ? { kind: "published" } : { kind: "failed", because: expect.stringContaining(because) },
  )
  expect([web.requests, methods]).toEqual([asked, ["POST", "GET"].slice(0, asked.length)])
})

test("another certificate for the address is none of ours", async () => {
  web.answer = (_request, response) => void response.end(certificate)
  const given = { token: TOKEN, fingerprint: "0".repeat(40) }
  const confirmed = await confirmAtVks({ host: HOST, ask: web.client() }, ALICE, given, AbortSignal.timeout(10_000))
  expect(confirmed.kind).toBe("failed")
})
