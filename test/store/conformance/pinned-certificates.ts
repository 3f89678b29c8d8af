import { afterEach, beforeEach, expect, test } from "vitest"
import { PinnedCertificates } from "../../../src/store/pinned-certificates.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What pinned certificates promise, whatever keeps them. */
export function pinnedCertificatesConformance(driver: StateDriver): void {
  const AT = new Date("2026-11-27T12:00:00Z")
  let folder: TemporaryFolder
  let opened: TestState
  let pins: PinnedCertificates

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    pins = new PinnedCertificates(opened.state)
    pins.add("C@elsewhere.test", "smime", Uint8Array.of(1), AT)
    pins.add("c@elsewhere.test", "openpgp", Uint8Array.of(2), AT)
    pins.add("c@elsewhere.test", "smime", Uint8Array.of(1), AT)
    pins.add("*@b.test", "smime", Uint8Array.of(3), AT)
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  test("are kept once, newest first", () => {
    expect(pins.of("c@elsewhere.test").map(({ format }) => format)).toEqual(["openpgp", "smime"])
    expect(pins.of("d@elsewhere.test")).toEqual([])
    expect(pins.all().map(({ address, certificate }) => `${address} ${certificate}`)).toEqual([
      "*@b.test 3",
      "c@elsewhere.test 2",
      "c@elsewhere.test 1",
    ])
  })

  test("are removed by format or all, and every process hears of it", () => {
    const before = opened.state.changeSequence()
    expect(pins.remove("c@elsewhere.test", "smime")).toBe(1)
    expect(pins.of("c@elsewhere.test").map(({ format }) => format)).toEqual(["openpgp"])
    expect([pins.remove("c@elsewhere.test", null), pins.remove("c@elsewhere.test", null)]).toEqual([1, 0])
    expect(pins.all().map(({ address }) => address)).toEqual(["*@b.test"])
    expect(opened.state.changeSequence()).toBeGreaterThan(before)
  })
}
