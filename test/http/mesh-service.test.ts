import { request } from "node:https"
import { afterAll, beforeEach, describe, expect, test } from "vitest"
import type { MeshDoor } from "../../src/http/mesh-service.ts"
import { startPublicHttp } from "../../src/http/public.ts"
import { silentLog } from "../../src/log/log.ts"
import { testCertificate } from "../harness/certificate.ts"
import { nobodysKeys } from "./published.ts"

let guesses = 0
let mayAsk = true
let isOften = false
let received: Uint8Array[] = []
beforeEach(() => {
  guesses = 0
  mayAsk = true
  isOften = false
  received = []
})
const door: MeshDoor = {
  maxRequestOctets: 2_000,
  mayAsk: async () => !isOften,
  async answer(octets, remote) {
    expect(remote).toBe("127.0.0.1")
    received.push(octets)
    if (!octets[0]) return null
    return {
      octets: Uint8Array.of(0xb2, 1),
      form: octets[0] === 1 ? "json-b" : "json",
      guesses: octets[0] === 2 ? 2 : 0,
    }
  },
}
const tls = await testCertificate()
const server = await startPublicHttp({
  host: "127.0.0.1",
  port: 0,
  tls,
  ...nobodysKeys([]),
  askers: { mayAsk: async () => mayAsk, guessed: async () => void guesses++ },
  clients: { domains: [], services: { imap: [], imapClient: null, smtp: [], https: null } },
  stsPolicy: null,
  mesh: door,
  shelf: null,
  log: silentLog(),
})
afterAll(() => server.close())
const port = Number(new URL(server.listeningOrigin).port)

function ask(body: Uint8Array, type = "application/dare", method = "POST", path = "/.well-known/mmm/") {
  return new Promise<{ status: number; type: string; body: Buffer }>((resolve, reject) => {
    const headers = { "content-type": type, "content-length": body.length }
    const sent = request({
      port,
      host: "127.0.0.1",
      method,
      path,
      headers,
      ca: tls.certificate,
      rejectUnauthorized: false,
    })
    sent.on("error", reject)
    sent.on("response", (response) => {
      const pieces: Buffer[] = []
      response.on("data", (piece: Buffer) => pieces.push(piece))
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers["content-type"] ?? "",
          body: Buffer.concat(pieces),
        }),
      )
    })
    sent.end(body)
  })
}

describe("the Mesh service over HTTPS", () => {
  test("octets in, octets out, in the form that was asked in", async () => {
    const body = Uint8Array.of(1, 255, 10)
    expect(await ask(body)).toEqual({ status: 200, type: "application/dare", body: Buffer.from([0xb2, 1]) })
    expect((await ask(Buffer.from("["), "application/json")).type).toBe("application/json")
    expect(received[0]).toEqual(Buffer.from(body))
    expect(guesses).toBe(0)
  })

  const refused: [string, () => ReturnType<typeof ask>, number][] = [
    ["what is no request", () => ask(Uint8Array.of(0)), 400],
    ["nothing", () => ask(new Uint8Array(0)), 400],
    ["a type that web pages can send", () => ask(Uint8Array.of(1), "text/plain"), 415],
    ["more than a request has", () => ask(new Uint8Array(2_001).fill(1)), 413],
    ["GET", () => ask(new Uint8Array(0), "application/dare", "GET"), 405],
  ]
  test.each(refused)("%s", async (_, send, status) => {
    expect((await send()).status).toBe(status)
  })

  test("who guesses is counted, and is not heard when it was too often", async () => {
    expect((await ask(Uint8Array.of(2))).status).toBe(200)
    expect((await ask(Uint8Array.of(0))).status).toBe(400)
    expect(guesses).toBe(3)
    mayAsk = false
    received = []
    expect((await ask(Uint8Array.of(1))).status).toBe(429)
    expect(received).toEqual([])
  })

  test("who asks too often is not heard", async () => {
    isOften = true
    expect((await ask(Uint8Array.of(1))).status).toBe(429)
    expect(received).toEqual([])
  })
})
