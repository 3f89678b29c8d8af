import type { IncomingMessage } from "node:http"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { armor } from "../../../src/crypto/openpgp/armor.ts"
import { readCertificate } from "../../../src/crypto/openpgp/certificate.ts"
import { makeAccount } from "../../../src/identity/account.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { uploadToVks } from "../../../src/profiles/sources/vks-upload.ts"
import { WebHosts } from "../../harness/web-hosts.ts"
import { makingAt } from "../../identity/people.ts"

const HOST = "keys.example"
const ALICE = parseAddress("Alice@example.test")
const never = new AbortController().signal
let web: WebHosts
let key: { readonly certificate: string; readonly fingerprint: string }

beforeAll(async () => {
  web = await WebHosts.open([HOST])
  const { person } = await makeAccount(
    { address: "alice@example.test", name: "Alice", formats: ["openpgp"] },
    makingAt(),
  )
  const binary = person.openpgp?.certificate ?? new Uint8Array()
  key = {
    certificate: Buffer.from(armor(binary, "PUBLIC KEY BLOCK")).toString(),
    fingerprint: Buffer.from(readCertificate(binary).fingerprint).toString("hex"),
  }
})
afterEach(() => web.reset())
afterAll(async () => web?.[Symbol.asyncDispose]())

const upload = () => uploadToVks({ host: HOST, ask: web.client() }, ALICE, key, never)

/** As keys.openpgp.org behaves: an address goes from unpublished to pending when its mail is asked for. */
function serve(answers: Readonly<Record<string, readonly [status: number, body: unknown]>>): Posted[] {
  const posted: Posted[] = []
  web.answer = async (request, response) => {
    posted.push({
      method: request.method,
      path: request.url,
      type: request.headers["content-type"],
      body: await bodyOf(request),
    })
    const [status, body] = answers[request.url ?? ""] ?? [404, { error: "nothing here" }]
    response.writeHead(status, { "content-type": "application/json" })
    response.end(typeof body === "string" ? body : JSON.stringify(body))
  }
  return posted
}

interface Posted {
  readonly method: string | undefined
  readonly path: string | undefined
  readonly type: string | undefined
  readonly body: unknown
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return JSON.parse(Buffer.concat(pieces).toString())
}

const uploaded = (status: unknown, fingerprint = key.fingerprint.toUpperCase()) =>
  [
    200,
    {
      key_fpr: fingerprint,
      token: "a token",
      status: { "other@example.test": "pending", "alice@example.test": status },
    },
  ] as const

describe("an upload to a verifying keyserver", () => {
  test("brings the certificate, and asks for the mail to the one address", async () => {
    const posted = serve({
      "/vks/v1/upload": uploaded("unpublished"),
      "/vks/v1/request-verify": [200, { status: { "alice@example.test": "pending" } }],
    })
    expect(await upload()).toBe("pending")
    const asked = { method: "POST", type: "application/json" }
    expect(posted).toEqual([
      { ...asked, path: "/vks/v1/upload", body: { keytext: key.certificate } },
      { ...asked, path: "/vks/v1/request-verify", body: { token: "a token", addresses: ["Alice@example.test"] } },
    ])
  })

  for (const status of ["published", "revoked"])
    test(`nobody is written to where the address is ${status}`, async () => {
      const posted = serve({ "/vks/v1/upload": uploaded(status) })
      expect(await upload()).toBe(status)
      expect(posted).toHaveLength(1)
    })

  const refusals: [name: string, answer: () => readonly [number, unknown], code: string, text: RegExp][] = [
    [
      "its words are told, in one line",
      () => [400, { error: "bad\r\nkey\u0007" }],
      "KEYSERVER_REFUSED",
      /answers 400: bad key$/,
    ],
    ["an endless sentence is cut", () => [429, { error: "x".repeat(9999) }], "KEYSERVER_REFUSED", /^.{0,250}$/],
    ["an error page", () => [503, "<html>"], "KEYSERVER_REFUSED", /answers 503$/],
    ["a redirect is no answer to what is posted", () => [307, {}], "KEYSERVER_REFUSED", /answers 307$/],
    ["another key", () => uploaded("unpublished", "00".repeat(20)), "KEYSERVER_MALFORMED", /another key/],
    [
      "no token",
      () => [200, { key_fpr: key.fingerprint, status: {} }],
      "KEYSERVER_MALFORMED",
      /without key_fpr and token/,
    ],
    [
      "a token without end",
      () => [200, { key_fpr: key.fingerprint, token: "x".repeat(20_000), status: {} }],
      "KEYSERVER_MALFORMED",
      /token/,
    ],
    ["no status", () => [200, { key_fpr: key.fingerprint, token: "t" }], "KEYSERVER_MALFORMED", /status/],
    [
      "a status that nobody knows",
      () => uploaded("maybe"),
      "KEYSERVER_MALFORMED",
      /says nothing of alice@example.test/,
    ],
    ["no JSON", () => [200, "yes"], "KEYSERVER_MALFORMED", /without/],
    ["more than anybody says", () => [200, "x".repeat(70_000)], "WEB_TOO_LONG", /./],
  ]
  for (const [name, answer, code, text] of refusals)
    test(`fails in words: ${name}`, async () => {
      serve({ "/vks/v1/upload": answer() })
      await expect(upload()).rejects.toMatchObject({ code, message: expect.stringMatching(text) })
    })
})
