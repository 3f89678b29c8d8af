import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { ImapSession } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ACCOUNTS = [
  ["smime", "alice@example.test"],
  ["openpgp", "bob@example.test"],
] as const

let gateway: Instance
const devices = new Map<string, { readonly laptop: Device; readonly phone: Device }>()

beforeAll(async () => {
  gateway = await Instance.create()
  for (const [format, address] of ACCOUNTS) {
    await gateway.must("account", "add", address, "--format", format)
    const [laptop, phone] = [await gateway.device(address, "laptop"), await gateway.device(address, "phone")]
    devices.set(address, { laptop, phone })
  }
  await gateway.serve()
  for (const [address, { laptop }] of devices) {
    await sendMail(gateway.port, "c@elsewhere.test", [address], Buffer.from("Subject: one\r\n\r\nthe secret\r\n"))
    using session = await ImapSession.open(laptop)
    await eventually("it is there", async () => (await session.uids()).length === 1)
  }
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

/** What a device has read comes back by APPEND, as when it is copied between accounts or restored from an archive. */
describe.each(ACCOUNTS)("a message of an account with %s that comes back from a device", (_format, address) => {
  const sessionOf = async (device: "laptop" | "phone"): Promise<ImapSession> => {
    const settings = devices.get(address)?.[device]
    if (settings === undefined) throw new Error(`no ${device}`)
    return ImapSession.open(settings)
  }

  async function appended(session: ImapSession, message: Uint8Array): Promise<string> {
    return session.command(`APPEND Archive {${message.length}+}\r\n${Buffer.from(message).toString("latin1")}`)
  }

  async function only(session: ImapSession, mailbox: string): Promise<Uint8Array> {
    const [uid = 0] = (await session.uids(mailbox)).slice(-1)
    return session.fetch(uid, "BODY.PEEK[]")
  }

  test("is the account's again: each device reads it as it read the first", async () => {
    using first = await sessionOf("laptop")
    using second = await sessionOf("phone")
    const seen = await only(first, "INBOX")
    const bySecond = await only(second, "INBOX")
    expect(Buffer.compare(seen, bySecond)).not.toBe(0)
    // Uploaded by the one that has it, and by the other.
    expect(await appended(first, seen)).toContain(" OK ")
    expect(Buffer.compare(await only(first, "Archive"), seen)).toBe(0)
    expect(Buffer.compare(await only(second, "Archive"), bySecond)).toBe(0)
    expect(await appended(first, bySecond)).toContain(" OK ")
    expect(Buffer.compare(await only(first, "Archive"), seen)).toBe(0)
    expect(Buffer.compare(await only(second, "Archive"), bySecond)).toBe(0)
    const metrics = await (await fetch(`http://127.0.0.1:${gateway.port + 6}/metrics`)).text()
    expect(metrics).toMatch(/^postern_imap_marker_failed_total 0$/m)
  })

  test("is refused when that device was revoked since: nobody could open it", async () => {
    using second = await sessionOf("phone")
    const view = await only(second, "INBOX")
    await gateway.must("device", "revoke", address, "phone")
    using first = await sessionOf("laptop")
    const before = (await first.uids("Archive")).length
    expect(await appended(first, view)).toContain(" NO [CANNOT]")
    expect(await first.uids("Archive")).toHaveLength(before)
  })
})
