import { once } from "node:events"
import { connect } from "node:net"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type PlainHttp, startPlainHttp } from "../../src/http/plain.ts"

const TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
const PATH = "/.well-known/acme-challenge"
let server: PlainHttp
let closed: PlainHttp

beforeAll(async () => {
  const challenge = (token: string) => (token === TOKEN ? `${token}.thumbprint` : null)
  server = await startPlainHttp({ host: "127.0.0.1", port: 0, challenge, https: "example.test:8443" })
  closed = await startPlainHttp({ host: "127.0.0.1", port: 0, challenge, https: null })
})

afterAll(() => Promise.all([server.close(), closed.close()]))

/** Sends octets, and returns everything up to the end of the connection. */
async function raw(to: PlainHttp, text: string): Promise<string> {
  const socket = connect(to.address().port, "127.0.0.1")
  let answer = ""
  socket.on("data", (octets) => {
    answer += octets
  })
  socket.on("error", () => undefined)
  socket.write(text)
  await once(socket, "close")
  return answer
}

const rows: [name: string, request: string, status: number, location: string | null][] = [
  ["a pending token", `GET ${PATH}/${TOKEN}`, 200, null],
  ["HEAD of it", `HEAD ${PATH}/${TOKEN}`, 200, null],
  ["another token", `GET ${PATH}/${TOKEN.toLowerCase()}`, 404, null],
  ["a token that is too long", `GET ${PATH}/${"a".repeat(129)}`, 404, null],
  ["an escape in it", `GET ${PATH}/%65vaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA`, 404, null],
  ["a query behind it", `GET ${PATH}/${TOKEN}?x`, 404, null],
  ["a slash behind it", `GET ${PATH}/${TOKEN}/`, 404, null],
  ["POST of it", `POST ${PATH}/${TOKEN}`, 404, null],
  ["the folder", `GET ${PATH}/`, 404, null],
  ["anything else", "GET /a/b?c=d", 308, "https://example.test:8443/a/b?c=d"],
  ["a path that looks like a host", "GET //evil.example/", 308, "https://example.test:8443//evil.example/"],
  ["a dot that would go on with the host", "GET .evil.example/", 400, null],
  ["the absolute form", "GET http://evil.example/", 404, null],
  ["another method", "DELETE /", 404, null],
]
for (const [name, request, status, location] of rows)
  test(name, async () => {
    const answer = await raw(server, `${request} HTTP/1.1\r\nHost: evil.example\r\n\r\n`)
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(/^location: (.*)\r$/im.exec(answer)?.[1] ?? null).toBe(location)
  })

test("the answer to a challenge is the key authorization, as octets", async () => {
  const answer = await raw(server, `GET ${PATH}/${TOKEN} HTTP/1.1\r\nHost: example.test\r\n\r\n`)
  expect(answer).toMatch(/^content-type: application\/octet-stream\r$/im)
  expect(answer.endsWith(`\r\n\r\n${TOKEN}.thumbprint`)).toBe(true)
})

test("without HTTPS there is nowhere to go", async () => {
  expect(await raw(closed, "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")).toMatch(/^HTTP\/1.1 404 /)
})

test("a header over 8 KiB is refused", async () => {
  const answer = await raw(server, `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(9_000)}\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1.1 431 /)
})

test("a port that is taken is named", async () => {
  const { port } = server.address()
  const start = startPlainHttp({ host: "127.0.0.1", port, challenge: () => null, https: null })
  await expect(start).rejects.toMatchObject({ code: "LISTEN_FAILED", message: expect.stringContaining(`:${port}`) })
})

test("who is slow with a header, or says nothing, is cut off within seconds", async () => {
  const [slow, silent] = await Promise.all([raw(server, "GET / HTTP/1.1\r\nHo"), raw(server, "")])
  expect(slow).toMatch(/^HTTP\/1.1 408 /)
  expect(silent).not.toMatch(/ (?:200|308) /)
})
