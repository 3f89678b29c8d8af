import { afterEach, beforeEach, expect, test } from "vitest"
import { KeptMeshMail, type MeshMailRow } from "../../../src/store/mesh-mail.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

const AT = new Date("2026-11-26T10:00:00Z")
const DAY_MS = 86_400_000
const some = (octet: number, count = 64) => new Uint8Array(count).fill(octet)
const MAIL: MeshMailRow = {
  recipient: "MBOB",
  messageId: "NONE",
  digest: some(1),
  sender: "MALI",
  salt: some(2, 16),
  payloadDigest: some(3),
}

/** What is remembered of mail over the Mesh, whatever remembers it. */
export function meshMailConformance(driver: StateDriver): void {
  let folder: TemporaryFolder
  let opened: TestState
  let mail: KeptMeshMail

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    mail = new KeptMeshMail(opened.state)
  })
  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  test("is new once, and then was accepted", () => {
    expect(mail.look(MAIL)).toBe("new")
    mail.add([MAIL], AT)
    mail.add([MAIL], AT)
    expect(mail.look(MAIL)).toBe("accepted")
    expect(mail.look({ ...MAIL, recipient: "MCAR" })).toBe("new")
  })

  test("that somebody has begun with says who, and since when; that was accepted before is nobody's", () => {
    mail.add([MAIL], AT, "host/1/2")
    mail.add([MAIL], new Date(AT.getTime() + 1), "host/3/4")
    expect(mail.look(MAIL)).toEqual({ keeper: "host/1/2", since: AT })
    expect(mail.look({ ...MAIL, digest: some(9) })).toBe("other message")
    const second = { ...MAIL, messageId: "NTWO", salt: some(7, 16) }
    mail.add([second], AT)
    mail.add([second], AT, "host/1/2")
    expect(mail.look(second)).toBe("accepted")
  })

  test("another message under its name is seen", () => {
    mail.add([MAIL], AT)
    expect(mail.look({ ...MAIL, digest: some(9) })).toBe("other message")
  })

  test("another text under its Salt is seen; another sender's Salt is his", () => {
    mail.add([MAIL], AT)
    const other = { ...MAIL, messageId: "NTWO", digest: some(9), payloadDigest: some(9) }
    expect(mail.look(other)).toBe("other text")
    expect(mail.look({ ...other, payloadDigest: MAIL.payloadDigest })).toBe("new")
    expect(mail.look({ ...other, sender: "MMAL" })).toBe("new")
  })

  test("is remembered for longer than it may be old, and no longer than needed", () => {
    const later = (days: number) => new Date(AT.getTime() + days * DAY_MS)
    mail.add([MAIL], AT)
    mail.add([{ ...MAIL, messageId: "NTWO", salt: some(5, 16) }], later(45))
    expect(mail.look(MAIL)).toBe("accepted")
    mail.add([{ ...MAIL, messageId: "NTHR", salt: some(6, 16) }], later(61))
    expect(mail.look(MAIL)).toBe("new")
  })
}
