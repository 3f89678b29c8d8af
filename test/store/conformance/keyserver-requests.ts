import { afterEach, beforeEach, expect, test } from "vitest"
import { KeyserverRequests, PENDING_MS } from "../../../src/store/keyserver-requests.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What requests to keyservers promise, whatever keeps them. */
export function keyserverRequestsConformance(driver: StateDriver): void {
  const AT = new Date("2026-01-02T03:04:05Z")
  const later = (ms: number) => new Date(AT.getTime() + ms)
  const ALICE = { address: "alice@example.test", host: "keys.example", fingerprint: "ab" } as const
  let folder: TemporaryFolder
  let opened: TestState
  let requests: KeyserverRequests

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    requests = new KeyserverRequests(opened.state)
    opened.state.sql.run`
      INSERT INTO account (address, name, formats, root, intermediate, profile, added_at)
      VALUES (${ALICE.address}, '', 'openpgp', ${Uint8Array.of(1)}, ${Uint8Array.of(1)}, '{}', 0)`
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const asked = { ...ALICE, state: "asked", because: "", askedAt: AT, changedAt: AT }
  const claim = () => requests.pending(ALICE.address, AT).map((request) => requests.claim(request, AT))

  test("a request is waited for by its address, until its time is over", () => {
    requests.ask(ALICE, AT)
    requests.ask({ ...ALICE, host: "other.example:8443" }, AT)
    expect(requests.pending(ALICE.address, later(PENDING_MS - 1))).toEqual([
      asked,
      { ...asked, host: "other.example:8443" },
    ])
    expect(requests.pending(ALICE.address, later(PENDING_MS))).toEqual([])
    expect(requests.pending(ALICE.address, later(-PENDING_MS))).toEqual([])
    expect(requests.pending("bob@example.test", AT)).toEqual([])
    expect(requests.of(ALICE.address)).toHaveLength(2)
  })

  test("of two that answer the same mail one may, and what came of it is told", () => {
    requests.ask(ALICE, AT)
    const [request] = requests.pending(ALICE.address, AT)
    if (request === undefined) throw new Error("nothing is waited for")
    expect([requests.claim(request, AT), requests.claim(request, AT), claim()]).toEqual([true, false, []])
    requests.settle(ALICE, "its link answers 400", later(1))
    expect(requests.of(ALICE.address)).toEqual([
      { ...asked, state: "failed", because: "its link answers 400", changedAt: later(1) },
    ])
    requests.settle(ALICE, null, later(2))
    expect(requests.of(ALICE.address)).toEqual([{ ...asked, state: "published", changedAt: later(2) }])
  })

  test("who asks again waits again; what is claimed or settled of the request before changes nothing", () => {
    requests.ask(ALICE, AT)
    const [before] = requests.pending(ALICE.address, AT)
    if (before === undefined) throw new Error("nothing is waited for")
    requests.ask({ ...ALICE, fingerprint: "cd" }, later(1))
    expect(requests.claim(before, AT)).toBe(false)
    requests.settle(before, null, AT)
    expect(requests.of(ALICE.address)).toEqual([
      { ...asked, fingerprint: "cd", askedAt: later(1), changedAt: later(1) },
    ])
  })

  test("they go with the account", () => {
    requests.ask(ALICE, AT)
    opened.state.sql.run`DELETE FROM account WHERE address = ${ALICE.address}`
    expect(requests.of(ALICE.address)).toEqual([])
  })
}
