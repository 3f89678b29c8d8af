import { expect, test } from "vitest"
import { storedLogins } from "../../../src/imap-proxy/upstream/logins.ts"
import { silentLog } from "../../../src/log/log.ts"
import { openCredentials } from "../../harness/credentials.ts"

const ALICE = "alice@example.test"
const signal = new AbortController().signal

test("a stored password that was refused is not tried again for two minutes, unless it is set anew", async () => {
  await using store = await openCredentials(ALICE)
  let now = new Date("2026-01-02T03:04:05Z")
  const logins = storedLogins({ credentials: store.credentials, now: () => now, log: silentLog() })
  const set = () => store.credentials.set(ALICE, { kind: "password", user: "a", password: "x" }, now)
  const outcome = () => logins.identity(ALICE, signal).catch((error: unknown) => error)
  const right = { kind: "password", user: "a", password: "x", authorizeAs: "" } as const
  expect(await outcome()).toMatchObject({ code: "UPSTREAM_REFUSED", message: /no credential is stored/ })
  set()
  expect(await outcome()).toEqual(right)
  expect(await logins.another(ALICE, right, signal)).toBeNull()
  expect(await outcome()).toMatchObject({ code: "UPSTREAM_REFUSED", message: /refused at 2026-01-02T03:04:05/ })
  set()
  expect(await outcome()).toEqual(right)
  await logins.another(ALICE, right, signal)
  now = new Date(now.getTime() + 120_000)
  expect(await outcome()).toEqual(right)
})
