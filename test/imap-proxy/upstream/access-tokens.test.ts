import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { AccessTokens } from "../../../src/imap-proxy/upstream/access-tokens.ts"
import { silentLog } from "../../../src/log/log.ts"
import type { OAuthCredential } from "../../../src/store/upstream-credential.ts"
import { openCredentials, type TestCredentials } from "../../harness/credentials.ts"
import { json, TokenEndpoint } from "../../harness/token-endpoint.ts"

const ALICE = "alice@example.test"
const signal = new AbortController().signal

let endpoint: TokenEndpoint
let store: TestCredentials
let now: Date
/** Two processes of one instance. */
let tokens: AccessTokens
let others: AccessTokens

beforeEach(async () => {
  endpoint = await TokenEndpoint.start()
  store = await openCredentials(ALICE)
  now = new Date("2026-01-02T03:04:05Z")
  const options = { now: () => now, log: silentLog() }
  tokens = new AccessTokens({ ...options, credentials: store.credentials })
  others = new AccessTokens({ ...options, credentials: store.another() })
  store.credentials.set(ALICE, oauth(), now)
})

afterEach(async () => {
  await store[Symbol.asyncDispose]()
  await endpoint[Symbol.asyncDispose]()
})

function oauth(more: Partial<OAuthCredential> = {}): OAuthCredential {
  return {
    kind: "oauth",
    user: "alice",
    tokenEndpoint: endpoint.url,
    clientId: "client",
    clientSecret: "client & secret",
    scope: "mail offline",
    refreshToken: endpoint.refreshToken,
    answer: null,
    ...more,
  }
}

const pass = (ms: number): void => void (now = new Date(now.getTime() + ms))
const token = (refused: string | null = null, of = tokens): Promise<string> => of.token(ALICE, refused, signal)
const outcome = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const kept = (): OAuthCredential => store.credentials.read(ALICE)?.credential as OAuthCredential

describe("an access token", () => {
  test("is asked for as RFC 6749 §6 says, and kept until shortly before it expires, for all processes and restarts", async () => {
    expect(await token()).toBe("access-1")
    expect(endpoint.requests).toEqual([
      {
        grant_type: "refresh_token",
        refresh_token: "refresh-0",
        client_id: "client",
        client_secret: "client & secret",
        scope: "mail offline",
      },
    ])
    pass(3_400_000)
    expect([await token(), await token(null, others)]).toEqual(["access-1", "access-1"])
    pass(100_000)
    expect(await token()).toBe("access-2")
    expect(endpoint.requests).toHaveLength(2)
  })

  test("without a client secret and a scope neither is sent", async () => {
    store.credentials.set(ALICE, oauth({ clientSecret: null, scope: null }), now)
    await token()
    expect(Object.keys(endpoint.requests[0] ?? {})).toEqual(["grant_type", "refresh_token", "client_id"])
  })

  test("of all who need one, in whatever process, one asks", async () => {
    endpoint.rotates = true
    const all = await Promise.all(Array.from({ length: 10 }, (_, index) => token(null, index % 2 ? tokens : others)))
    expect(new Set(all)).toEqual(new Set(["access-1"]))
    expect(endpoint.requests).toHaveLength(1)
  })

  test("comes to the others though the first who asked has left", async () => {
    const { promise: asked, resolve } = Promise.withResolvers<void>()
    const { promise: goOn, resolve: answer } = Promise.withResolvers<void>()
    endpoint.interrupt = async () => {
      resolve()
      await goOn
      return false
    }
    const leaving = new AbortController()
    const first = outcome(tokens.token(ALICE, null, leaving.signal))
    const second = token()
    await asked
    leaving.abort()
    expect(await first).toMatchObject({ code: "UPSTREAM_UNAVAILABLE" })
    answer()
    expect(await second).toBe("access-1")
  })

  test("that the server refuses is replaced once; a fresh one is not, nor is the token endpoint asked again and again", async () => {
    await token()
    pass(60_000)
    expect(await token("access-1")).toBe("access-2")
    // Somebody else still holds the old one.
    expect(await token("access-1", others)).toBe("access-2")
    expect(await outcome(token("access-2"))).toMatchObject({ code: "UPSTREAM_REFUSED" })
    expect(endpoint.requests).toHaveLength(2)
  })

  test("that lives shorter than we look ahead is used for most of its life", async () => {
    endpoint.lifetimeSeconds = 40
    await token()
    pass(25_000)
    expect(await token()).toBe("access-1")
    pass(10_000)
    expect(await token()).toBe("access-2")
  })
})

describe("a refresh token", () => {
  test("that is rotated is kept, and the old one destroyed", async () => {
    endpoint.rotates = true
    for (const expected of ["access-1", "access-2", "access-3"]) {
      expect(await token()).toBe(expected)
      pass(3_600_000)
    }
    expect(endpoint.requests.map((request) => request["refresh_token"])).toEqual([
      "refresh-0",
      "refresh-1",
      "refresh-2",
    ])
    expect(kept().refreshToken).toBe("refresh-3")
    expect(store.keys()).toHaveLength(1)
  })

  test("that is no longer good needs its owner, and is not tried again at once; a new one is", async () => {
    store.credentials.set(ALICE, oauth({ refreshToken: "revoked" }), now)
    expect(await outcome(token())).toMatchObject({ code: "UPSTREAM_CONSENT", message: /invalid_grant/ })
    expect(await outcome(token(null, others))).toMatchObject({ code: "UPSTREAM_CONSENT" })
    expect(endpoint.requests).toHaveLength(1)
    pass(300_000)
    expect(await outcome(token())).toMatchObject({ code: "UPSTREAM_CONSENT" })
    expect(endpoint.requests).toHaveLength(2)
    store.credentials.set(ALICE, oauth(), now)
    expect(await token()).toBe("access-1")
  })

  test("that a person sets while the old one is asked for is not overwritten", async () => {
    endpoint.interrupt = () => {
      endpoint.interrupt = () => false
      store.credentials.set(ALICE, oauth({ user: "new" }), now)
      return false
    }
    expect(await token()).toBe("access-2")
    expect(kept()).toMatchObject({ user: "new", answer: { accessToken: "access-2" } })
  })

  test("that was removed, or is a password now", async () => {
    store.credentials.set(ALICE, { kind: "password", user: "alice", password: "x" }, now)
    expect(await outcome(token())).toMatchObject({ code: "UPSTREAM_REFUSED" })
    store.credentials.remove(ALICE)
    expect(await outcome(token())).toMatchObject({ code: "UPSTREAM_REFUSED" })
  })
})

describe("a token endpoint", () => {
  const good = { access_token: "a", token_type: "bearer", expires_in: "60" }
  const rows: readonly (readonly [name: string, status: number, body: string, want: object | string])[] = [
    ["that says the lifetime as text", 200, JSON.stringify(good), "a"],
    ["that says no lifetime", 200, JSON.stringify({ ...good, expires_in: undefined }), "a"],
    ["that does not know our client", 401, '{"error":"invalid_client"}', { code: "UPSTREAM_REFUSED" }],
    ["that wants the owner to log in", 400, '{"error":"interaction_required"}', { code: "UPSTREAM_CONSENT" }],
    ["that is overloaded", 503, '{"error":"temporarily_unavailable"}', { code: "UPSTREAM_UNAVAILABLE" }],
    ["that is overloaded and says so with 400", 400, '{"error":"server_error"}', { code: "UPSTREAM_UNAVAILABLE" }],
    ["that has an error page", 200, "<html>sign in to this network</html>", { code: "UPSTREAM_UNAVAILABLE" }],
    ["that has an error page of status 400", 400, "<html>", { code: "UPSTREAM_UNAVAILABLE" }],
    [
      "that says too much",
      200,
      JSON.stringify({ ...good, more: "x".repeat(70_000) }),
      { code: "UPSTREAM_UNAVAILABLE" },
    ],
    ["that grants another kind", 200, JSON.stringify({ ...good, token_type: "mac" }), { code: "UPSTREAM_UNAVAILABLE" }],
    ["that grants nothing", 200, "null", { code: "UPSTREAM_UNAVAILABLE" }],
    [
      "whose token ends a field",
      200,
      JSON.stringify({ ...good, access_token: "a\x01b" }),
      { code: "UPSTREAM_UNAVAILABLE" },
    ],
    ["whose error is no code", 400, '{"error":"refresh-0 is wrong"}', { code: "UPSTREAM_UNAVAILABLE" }],
  ]
  for (const [name, status, body, want] of rows)
    test(name, async () => {
      endpoint.interrupt = (response) => {
        response.writeHead(status).end(body)
        return true
      }
      const answer = await outcome(token())
      if (typeof want === "string") expect(answer).toBe(want)
      else expect(answer).toMatchObject(want)
      expect(String(answer)).not.toMatch(/refresh-0|secret/)
    })

  test("that sends us elsewhere is not followed", async () => {
    await using elsewhere = await TokenEndpoint.start()
    endpoint.interrupt = (response) => {
      response.writeHead(307, { Location: elsewhere.url }).end()
      return true
    }
    expect(await outcome(token())).toMatchObject({ code: "UPSTREAM_UNAVAILABLE" })
    expect(elsewhere.requests).toEqual([])
  })

  test("that hangs up, or is not there, may answer the next time", async () => {
    endpoint.interrupt = (response) => {
      response.destroy()
      return true
    }
    expect(await outcome(token())).toMatchObject({ code: "UPSTREAM_UNAVAILABLE", message: /^token endpoint 127/ })
    endpoint.interrupt = () => false
    expect(await token()).toBe("access-1")
  })

  test("that is slow is waited for no longer than the client waits, and its answer is kept", async () => {
    const { promise: slow, resolve: answer } = Promise.withResolvers<void>()
    endpoint.interrupt = async (response) => {
      await slow
      json(response, 200, { ...good, refresh_token: "refresh-9" })
      return true
    }
    const leaving = AbortSignal.timeout(50)
    expect(await outcome(tokens.token(ALICE, null, leaving))).toMatchObject({ code: "UPSTREAM_UNAVAILABLE" })
    const next = token()
    answer()
    expect(await next).toBe("a")
    expect(kept().refreshToken).toBe("refresh-9")
  })
})
