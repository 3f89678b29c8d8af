import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import fc from "fast-check"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import type { WebRequest, WebRules } from "../../src/net/web.ts"
import { freePorts } from "../harness/ports.ts"
import { LOOPBACK, type WebHandler, WebHosts } from "../harness/web-hosts.ts"

const never = new AbortController().signal
const HOSTS = ["a.example", "b.example", "uncertified.example"]

let web: WebHosts
beforeAll(async () => {
  web = await WebHosts.open(HOSTS, ["a.example", "b.example"])
})
afterEach(() => web.reset())
afterAll(async () => web?.[Symbol.asyncDispose]())

function ask(url: string, rules: Partial<WebRules> = {}, more: Partial<WebRequest> = {}) {
  return web.client(rules)({ url: new URL(url), maxOctets: 1_000, ...more }, never)
}

const text =
  (body: string): WebHandler =>
  (_request, response) =>
    void response.setHeader("content-type", "text/plain; charset=utf-8").end(body)
const redirect =
  (location: string, status = 302): WebHandler =>
  (request, response) => {
    if (request.url === "/there") text("arrived")(request, response)
    else response.writeHead(status, { location }).end()
  }

test("an answer comes with its status, media type, body and place", async () => {
  web.answer = text("hello")
  const { body, ...rest } = await ask("https://a.example/x?l=A%2Bb")
  expect(Buffer.from(body).toString()).toBe("hello")
  expect(rest).toEqual({
    status: 200,
    type: "text/plain",
    retryAfter: null,
    url: new URL("https://a.example/x?l=A%2Bb"),
  })
  expect(web.requests).toEqual(["https://a.example/x?l=A%2Bb"])
})

test.each([404, 410, 429, 500, 503])("status %i is an answer", async (status) => {
  web.answer = (_request, response) => void response.writeHead(status, { "retry-after": "7" }).end()
  expect(await ask("https://a.example/")).toMatchObject({ status, retryAfter: "7" })
})

test("what is posted arrives, and is not sent on to where it is redirected", async () => {
  let got = ""
  web.answer = async (request, response) => {
    for await (const octets of request) got += octets
    response.writeHead(307, { location: "https://b.example/" }).end()
  }
  const body = { type: "application/ocsp-request", octets: Buffer.from("question") }
  expect(await ask("https://a.example/", {}, { body })).toMatchObject({ status: 307 })
  expect([got, web.requests]).toEqual(["question", ["https://a.example/"]])
})

test("a response that says neither its length nor its chunks could have been cut off on the way", async () => {
  web.answer = (_request, response) => {
    response.shouldKeepAlive = false
    response.useChunkedEncodingByDefault = false
    // Node counts what is ended in one piece.
    response.write("hel")
    response.end("lo")
  }
  await expect(ask("https://a.example/")).rejects.toMatchObject({ code: "WEB_BROKEN" })
})

const troubles: [
  name: string,
  code: string,
  url: string,
  act: () => void,
  rules?: () => Promise<Partial<WebRules>> | Partial<WebRules>,
][] = [
  ["a name that does not exist", "WEB_NO_NAME", "https://nowhere.example/", () => undefined],
  ["a name longer than names are", "WEB_NO_NAME", `https://${"a.".repeat(124)}example/`, () => undefined],
  [
    "a name without an address",
    "WEB_NO_ADDRESS",
    "https://a.example/",
    () => web.dns.set("a.example", { kind: "no-address" }),
  ],
  ["DNS that does not answer", "WEB_UNRESOLVED", "https://a.example/", () => web.dns.set("a.example", "SERVFAIL")],
  [
    "an address inside",
    "WEB_FORBIDDEN_ADDRESS",
    "https://a.example/",
    () => web.dns.set("a.example", { kind: "addresses", addresses: ["10.0.0.1"] }),
  ],
  [
    "an address inside, by the rules for everybody",
    "WEB_FORBIDDEN_ADDRESS",
    "https://a.example/",
    () => undefined,
    () => ({ isAllowed: undefined as never }),
  ],
  ["plain http", "WEB_FORBIDDEN_URL", "http://a.example/", () => undefined],
  ["another scheme", "WEB_FORBIDDEN_URL", "ftp://a.example/", () => undefined],
  ["a name and a password", "WEB_FORBIDDEN_URL", "https://a:b@a.example/", () => undefined],
  ["a port of its own", "WEB_FORBIDDEN_URL", "https://a.example:25/", () => undefined],
  ["an address instead of a name", "WEB_FORBIDDEN_URL", "https://127.1/", () => undefined],
  ["an address of IPv6 instead of a name", "WEB_FORBIDDEN_URL", "https://[::1]/", () => undefined],
  [
    "nobody who listens",
    "WEB_REFUSED",
    "https://a.example/",
    () => undefined,
    async () => ({ port: (await freePorts(1))[0] ?? 0 }),
  ],
  [
    "a connection that breaks",
    "WEB_REFUSED",
    "https://a.example/",
    () => {
      web.answer = (request) => request.socket.destroy()
    },
  ],
  [
    "a body that is cut off",
    "WEB_REFUSED",
    "https://a.example/",
    () => {
      web.answer = (_request, response) => {
        response.writeHead(200, { "content-length": 100 }).write("short", () => response.socket?.destroy())
      }
    },
  ],
  [
    "a chunked body that is cut off",
    "WEB_REFUSED",
    "https://a.example/",
    () => {
      web.answer = (_request, response) => void response.write("short", () => response.socket?.destroy())
    },
  ],
  [
    "silence",
    "WEB_TIMEOUT",
    "https://a.example/",
    () => {
      web.answer = () => undefined
    },
    () => ({ timeoutMs: 100 }),
  ],
  [
    "silence of DNS",
    "WEB_TIMEOUT",
    "https://a.example/",
    () => undefined,
    () => ({ timeoutMs: 100, resolve: () => new Promise(() => undefined) }),
  ],
  [
    "a body without end, a drop at a time",
    "WEB_TIMEOUT",
    "https://a.example/",
    () => {
      web.answer = (_request, response) => {
        const timer = setInterval(() => response.write("."), 20)
        response.on("close", () => clearInterval(timer))
      }
    },
    () => ({ timeoutMs: 200 }),
  ],
  ["a certificate of another host", "WEB_CERTIFICATE", "https://uncertified.example/", () => undefined],
  [
    "a certificate of nobody we know",
    "WEB_CERTIFICATE",
    "https://a.example/",
    () => undefined,
    () => ({ authority: "" }),
  ],
  ["no TLS", "WEB_BROKEN", "https://a.example/", () => undefined, () => ({ port: clearPort })],
  [
    "a length that is too much",
    "WEB_TOO_LONG",
    "https://a.example/",
    () => {
      web.answer = (_request, response) => void response.writeHead(200, { "content-length": 1e8 }).flushHeaders()
    },
  ],
  [
    "more than it may be, in chunks",
    "WEB_TOO_LONG",
    "https://a.example/",
    () => {
      web.answer = (_request, response) => {
        response.write(Buffer.alloc(600))
        response.write(Buffer.alloc(600))
      }
    },
  ],
  [
    "an encoding",
    "WEB_BROKEN",
    "https://a.example/",
    () => {
      web.answer = (_request, response) => void response.setHeader("content-encoding", "gzip").end("x")
    },
  ],
  [
    "a circle of redirects",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("https://b.example/here")
    },
  ],
  [
    "a redirect to http",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("http://a.example/there")
    },
  ],
  [
    "a redirect to a file",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("file:///etc/passwd")
    },
  ],
  [
    "a redirect to an address inside",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.dns.set("inside.example", { kind: "addresses", addresses: ["169.254.169.254"] })
      web.answer = redirect("https://inside.example/there")
    },
  ],
  [
    "a redirect to a name that does not exist",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("https://nowhere.example/there")
    },
  ],
  [
    "a redirect with a password",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("https://a:b@b.example/there")
    },
  ],
  [
    "a redirect to another port",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("https://b.example:25/there")
    },
  ],
  [
    "a redirect to nonsense",
    "WEB_REDIRECT",
    "https://a.example/",
    () => {
      web.answer = redirect("https://[/")
    },
  ],
  [
    "a redirect to a host with another's certificate",
    "WEB_CERTIFICATE",
    "https://a.example/",
    () => {
      web.answer = redirect("https://uncertified.example/there")
    },
  ],
]

let clearPort = 0
describe("what is no answer", () => {
  const clear = createServer((_request, response) => void response.end("in clear"))
  beforeAll(async () => {
    clear.listen(0, "127.0.0.1")
    await once(clear, "listening")
    clearPort = (clear.address() as AddressInfo).port
  })
  afterAll(() => void clear.close())

  test.each(troubles)("%s: %s", async (_name, code, url, act, rules) => {
    act()
    await expect(ask(url, await rules?.())).rejects.toMatchObject({ name: "GatewayError", code })
  })

  test("http is asked where the caller allows it, and may be redirected to https", async () => {
    expect(await ask("http://a.example/", { port: clearPort }, { allowHttp: true })).toMatchObject({ status: 200 })
    await expect(ask("https://a.example/", {}, { allowHttp: true })).resolves.toMatchObject({ status: 404 })
  })
})

test.each([301, 302, 303, 307, 308])("a redirect with status %i is followed", async (status) => {
  web.answer = redirect("https://b.example/there#part", status)
  expect(await ask("https://a.example/")).toMatchObject({ status: 200, url: new URL("https://b.example/there") })
  expect(web.requests).toEqual(["https://a.example/", "https://b.example/there"])
})

test("a relative redirect leads to the same host; three are followed", async () => {
  web.answer = (request, response) => {
    const step = Number(request.url?.slice(1))
    if (step === 3) text("arrived")(request, response)
    else response.writeHead(302, { location: String(step + 1) }).end()
  }
  expect(await ask("https://a.example/0")).toMatchObject({ status: 200, url: new URL("https://a.example/3") })
})

test("wherever a redirect leads, it is followed by the rules or is an error of ours", async () => {
  const location = fc.oneof(
    fc.webUrl(),
    fc.string({ maxLength: 30 }),
    fc
      .array(
        fc.constantFrom(
          "https:",
          "//",
          "/",
          "b.example",
          "@",
          ":",
          "443",
          "[::1]",
          "%",
          "\\",
          "#",
          "?",
          "..",
          "localhost",
        ),
        { maxLength: 6 },
      )
      .map((parts) => parts.join("")),
  )
  await fc.assert(
    fc.asyncProperty(location, async (where) => {
      web.answer = redirect(Buffer.from(where.replace(/[^ -~]/g, "")).toString())
      const client = web.client({ resolve: async (host) => (host === "a.example" ? LOOPBACK : { kind: "no-name" }) })
      const asked = client({ url: new URL("https://a.example/"), maxOctets: 1_000 }, never)
      const [outcome] = await Promise.allSettled([asked])
      if (outcome?.status === "rejected") expect(outcome.reason).toMatchObject({ code: "WEB_REDIRECT" })
      else expect(outcome?.value.url.host).toBe("a.example")
    }),
    { numRuns: 100 },
  )
})

test("another address is tried where the first leads nowhere", async () => {
  web.dns.set("a.example", { kind: "addresses", addresses: ["10.0.0.1", "127.0.0.2", "127.0.0.1"] })
  web.answer = text("hello")
  const isAllowed = (address: string): boolean => address.startsWith("127.")
  expect(await ask("https://a.example/", { isAllowed })).toMatchObject({ status: 200 })
})

test("a host that an administrator named may be inside and have a port of its own; where it redirects to may not", async () => {
  web.dns.set("b.example", { kind: "addresses", addresses: ["127.0.0.1"] })
  const [rules, named] = [{ isAllowed: () => false }, { isTrusted: true }]
  web.answer = text("hello")
  expect(await ask(`https://a.example:${web.port}/`, rules, named)).toMatchObject({ status: 200 })
  for (const where of ["https://b.example/there", "https://a.example/there", `https://a.example:${web.port}/there`]) {
    web.answer = redirect(where)
    await expect(ask("https://a.example/", rules, named)).rejects.toMatchObject({ code: "WEB_REDIRECT" })
  }
})

test("one host is asked so many times at once and no more; another does not wait for it", async () => {
  const held: (() => void)[] = []
  let most = 0
  web.answer = (request, response) => {
    if (request.headers.host?.startsWith("b.")) return void response.end()
    most = Math.max(
      most,
      held.push(() => response.end()),
    )
  }
  const client = web.client({ perHost: 2, timeoutMs: 5_000 })
  const at = (host: string) => client({ url: new URL(`https://${host}/`), maxOctets: 10 }, never)
  const slow = [at("a.example"), at("a.example"), at("a.example"), at("a.example")]
  await at("b.example")
  await expect.poll(() => held.length).toBe(2)
  for (const end of held.splice(0)) end()
  await expect.poll(() => held.length).toBe(2)
  for (const end of held.splice(0)) end()
  expect((await Promise.all(slow)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
  expect(most).toBe(2)
})

test("who waits for a turn does not wait for ever, and leaves the turn to others", async () => {
  const ends: (() => void)[] = []
  web.answer = (_request, response) => void ends.push(() => response.end())
  const patient = web.client({ perHost: 1, timeoutMs: 5_000 })
  const one = { url: new URL("https://a.example/"), maxOctets: 10 }
  const first = patient(one, never)
  await expect.poll(() => ends.length).toBe(1)
  const leaving = new AbortController()
  const second = patient(one, leaving.signal)
  const third = patient(one, never)
  leaving.abort(new Error("no longer wanted"))
  await expect(second).rejects.toThrow("no longer wanted")
  ends[0]?.()
  await first
  await expect.poll(() => ends.length).toBe(2)
  ends[1]?.()
  expect(await third).toMatchObject({ status: 200 })
})

test("who goes away meanwhile ends the exchange with his own reason", async () => {
  const leaving = new AbortController()
  web.answer = () => leaving.abort(new Error("no longer wanted"))
  const asked = web.client()({ url: new URL("https://a.example/"), maxOctets: 10 }, leaving.signal)
  await expect(asked).rejects.toThrow("no longer wanted")
})
