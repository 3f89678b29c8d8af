import { once } from "node:events"
import { createServer, type Server } from "node:https"
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import { AcmeClient } from "../../src/acme/client.ts"
import { obtainCertificate } from "../../src/acme/order.ts"
import { p256PublicPoint, randomP256Scalar } from "../../src/crypto/primitives/p256.ts"
import { verifyP256 } from "../../src/crypto/primitives/sign.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"

/** What the CA of these tests answers, by path. */
interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

const TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
const NOW = new Date("2026-03-02T12:00:00Z")
const accountKey = randomP256Scalar()
let own: TestCertificate
let ca: Server
let origin: string
let answers: Record<string, Answer>
let asked: {
  readonly path: string
  readonly head: Record<string, unknown>
  readonly payload: string
  readonly signed: boolean
}[]

beforeAll(async () => {
  own = await testCertificate("example.test")
  ca = createServer({ key: own.key, cert: own.certificate }, async (request, response) => {
    let text = ""
    for await (const octets of request) text += octets
    const path = request.url ?? ""
    if (text !== "") asked.push({ path, ...opened(text) })
    const { status = 200, headers = {}, body = {} } = answers[path] ?? { status: 404 }
    response.writeHead(status, { "replay-nonce": `nonce-${asked.length}`, ...headers })
    response.end(typeof body === "string" ? body : JSON.stringify(body))
  }).listen(0, "127.0.0.1")
  await once(ca, "listening")
  const address = ca.address()
  origin = `https://localhost:${address !== null && typeof address === "object" ? address.port : 0}`
})

afterAll(() => void ca.close())

beforeEach(() => {
  asked = []
  const challenge = { type: "http-01", token: TOKEN, url: `${origin}/challenge` }
  const identifier = { type: "dns", value: "example.test" }
  answers = {
    "/dir": { body: { newNonce: `${origin}/nonce`, newAccount: `${origin}/account`, newOrder: `${origin}/new` } },
    "/nonce": {},
    "/account": { status: 201, headers: { location: `${origin}/account/1` }, body: { status: "valid" } },
    "/new": {
      status: 201,
      headers: { location: `${origin}/order` },
      body: { status: "pending", authorizations: [`${origin}/authorization`], finalize: `${origin}/finalize` },
    },
    "/authorization": { body: { status: "valid", identifier, challenges: [challenge] } },
    "/order": { body: { status: "ready" } },
    "/finalize": { status: 403, body: { type: "urn:ietf:params:acme:error:badCSR", detail: "not that key" } },
  }
})

function opened(text: string): Omit<(typeof asked)[number], "path"> {
  const { protected: head, payload, signature } = JSON.parse(text)
  const octets = new TextEncoder().encode(`${head}.${payload}`)
  return {
    head: JSON.parse(Buffer.from(head, "base64url").toString()),
    payload: Buffer.from(payload, "base64url").toString(),
    signed: verifyP256(p256PublicPoint(accountKey), octets, Buffer.from(signature, "base64url"), "raw"),
  }
}

function client(): AcmeClient {
  const { signal } = new AbortController()
  const [directory, authority] = [`${origin}/dir`, own.certificate]
  return new AcmeClient({ directory, authority, accountKey, now: () => NOW, signal })
}

const shown = new Map<string, string>()
const responder = {
  present: (token: string, answer: string) => void shown.set(token, answer),
  withdraw: (token: string) => void shown.delete(token),
}

async function obtain(): Promise<unknown> {
  const one = client()
  await one.logIn("hostmaster@example.test")
  return obtainCertificate(one, ["example.test"], responder)
}

test("requests are signed by the account's key, name their URL, and use each nonce once (RFC 8555 §6.2, §6.5)", async () => {
  await expect(obtain()).rejects.toThrow("acme: finalize: urn:ietf:params:acme:error:badCSR: not that key")
  expect(asked.every(({ signed }) => signed)).toBe(true)
  expect(asked.map(({ head }) => [head["alg"], head["url"]] as const)).toEqual(
    asked.map(({ path }) => ["ES256", `${origin}${path}`]),
  )
  expect(asked[0]?.head["jwk"]).toMatchObject({ kty: "EC", crv: "P-256" })
  expect(asked.slice(1).map(({ head }) => head["kid"])).toEqual(asked.slice(1).map(() => `${origin}/account/1`))
  expect(JSON.parse(asked[0]?.payload ?? "")).toEqual({
    termsOfServiceAgreed: true,
    contact: ["mailto:hostmaster@example.test"],
  })
  const nonces = asked.map(({ head }) => head["nonce"])
  expect(new Set(nonces).size).toBe(nonces.length)
  // POST-as-GET (RFC 8555 §6.3).
  expect(asked.find(({ path }) => path === "/order")?.payload).toBe("")
})

const refused: [name: string, path: string, answer: () => Answer, code: string, message: RegExp][] = [
  [
    "a rate limit, with the time to wait",
    "/new",
    () => ({
      status: 429,
      headers: { "retry-after": "3600" },
      body: { type: "urn:ietf:params:acme:error:rateLimited", detail: "too many\u001b[31m\r\norders" },
    }),
    "ACME_REFUSED",
    /^acme: newOrder: urn:ietf:params:acme:error:rateLimited: too many \[31m orders$/,
  ],
  [
    "an order that is invalid",
    "/order",
    () => ({ body: { status: "invalid", error: { type: "urn:ietf:params:acme:error:caa", detail: "CAA forbids" } } }),
    "ACME_REFUSED",
    /^acme: order: urn:ietf:params:acme:error:caa: CAA forbids$/,
  ],
  ["no such page", "/new", () => ({ status: 404, body: "not here" }), "ACME_PROTOCOL", /newOrder: HTTP status 404$/],
  [
    "a server that is broken",
    "/dir",
    () => ({ status: 503, body: "" }),
    "ACME_UNREACHABLE",
    /directory: HTTP status 503$/,
  ],
  [
    "a redirect",
    "/dir",
    () => ({ status: 302, headers: { location: "https://127.0.0.1/" } }),
    "ACME_PROTOCOL",
    /status 302$/,
  ],
  ["no JSON", "/dir", () => ({ body: "<html>" }), "ACME_PROTOCOL", /newNonce: the CA names no URL|newAccount/],
  [
    "a nonce that never fits",
    "/account",
    () => ({ status: 400, body: { type: "urn:ietf:params:acme:error:badNonce", detail: "old" } }),
    "ACME_REFUSED",
    /badNonce: old$/,
  ],
  [
    "no nonce at all",
    "/dir",
    () => ({
      headers: { "replay-nonce": "not a nonce" },
      body: { newNonce: `${origin}/dir`, newAccount: `${origin}/account` },
    }),
    "ACME_PROTOCOL",
    /no Replay-Nonce/,
  ],
  [
    "a resource elsewhere",
    "/dir",
    () => ({ body: { newNonce: `${origin}/nonce`, newAccount: "https://169.254.169.254/latest" } }),
    "ACME_PROTOCOL",
    /newAccount: the CA names a URL that is not of https:\/\/localhost/,
  ],
  [
    "a resource in clear",
    "/dir",
    () => ({ body: { newNonce: `${origin}/nonce`, newAccount: origin.replace("https", "http") } }),
    "ACME_PROTOCOL",
    /that is not of/,
  ],
  [
    "256 KiB and more",
    "/dir",
    () => ({ body: "x".repeat(262_145) }),
    "ACME_UNREACHABLE",
    /answers more than 262144 octets/,
  ],
  [
    "accounts bound elsewhere",
    "/dir",
    () => ({ body: { meta: { externalAccountRequired: true } } }),
    "ACME_PROTOCOL",
    /not supported/,
  ],
  [
    "two authorizations for one name",
    "/new",
    () => ({ status: 201, body: { authorizations: ["a", "b"] } }),
    "ACME_PROTOCOL",
    /not one authorization/,
  ],
  [
    "no http-01",
    "/authorization",
    () => ({ body: { status: "pending", challenges: [{ type: "dns-01", token: TOKEN }] } }),
    "ACME_PROTOCOL",
    /offers no http-01/,
  ],
  [
    "a token that leads elsewhere",
    "/authorization",
    () => ({ body: { status: "pending", challenges: [{ type: "http-01", token: "../../secrets" }] } }),
    "ACME_PROTOCOL",
    /challenge: no token/,
  ],
]
for (const [name, path, answer, code, message] of refused)
  test(`a CA that answers with ${name}`, async () => {
    answers[path] = answer()
    await expect(obtain()).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    expect(shown.size).toBe(0)
  })

test("Retry-After of a refusal is kept", async () => {
  answers["/new"] = { status: 429, headers: { "retry-after": "3600" }, body: { type: "urn:x", detail: "later" } }
  await expect(obtain()).rejects.toMatchObject({
    retryAt: new Date("2026-03-02T13:00:00Z"),
    problem: { type: "urn:x" },
  })
})

test("a bad nonce is replaced by the fresh one, ten times at most", async () => {
  answers["/account"] = { status: 400, body: { type: "urn:ietf:params:acme:error:badNonce", detail: "old" } }
  await expect(obtain()).rejects.toMatchObject({ code: "ACME_REFUSED" })
  expect(asked).toHaveLength(10)
})

const certificates: [name: string, pem: () => string, message: RegExp][] = [
  ["of another key", () => own.certificate, /certificate: of another key$/],
  ["that is none", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", /certificate: is none$/],
  ["that is missing", () => "hello", /certificate: 0 certificates$/],
  ["with a chain without end", () => own.certificate.repeat(11), /certificate: 11 certificates$/],
]
for (const [name, pem, message] of certificates)
  test(`a certificate ${name} is not taken`, async () => {
    let order = 0
    Object.defineProperty(answers, "/order", {
      get: () => ({
        body: order++ === 0 ? { status: "ready" } : { status: "valid", certificate: `${origin}/certificate` },
      }),
    })
    answers["/finalize"] = { body: { status: "processing" } }
    answers["/certificate"] = { body: pem() }
    await expect(obtain()).rejects.toMatchObject({ code: "ACME_PROTOCOL", message: expect.stringMatching(message) })
  })

test("a server whose certificate nobody vouches for is not asked", async () => {
  const { signal } = new AbortController()
  const one = new AcmeClient({ directory: `${origin}/dir`, authority: null, accountKey, now: () => NOW, signal })
  await expect(one.logIn(null)).rejects.toMatchObject({ code: "ACME_UNREACHABLE" })
  expect(asked).toEqual([])
})

test("a CA that says to wait for longer than an order may take is given up at once", async () => {
  answers["/order"] = { body: { status: "pending" }, headers: { "retry-after": "3600" } }
  await expect(obtain()).rejects.toMatchObject({
    code: "ACME_UNREACHABLE",
    message: "acme: order: the CA does not decide within 180 s",
  })
})

test("what is asked ends with its signal", async () => {
  const ending = new AbortController()
  answers["/order"] = { body: { status: "pending" }, headers: { "retry-after": "9" } }
  const { signal } = ending
  const [directory, authority] = [`${origin}/dir`, own.certificate]
  const one = new AcmeClient({ directory, authority, accountKey, now: () => NOW, signal })
  await one.logIn(null)
  ca.once("request", () => ca.once("request", () => ca.once("request", () => ending.abort())))
  await expect(obtainCertificate(one, ["example.test"], responder)).rejects.toMatchObject({ name: "AbortError" })
})
