import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ownProcess } from "../cli/postern.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { peer } from "../harness/peers.ts"
import { ImapSession, openWithGnupg, openWithOpenssl } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

const ALICE = "alice@example.test"
const CAROL = "carol@example.test"
const OLD = "canary-written-to-the-first-key"
const NEWER = "canary-written-to-the-second-key"

type Device = DeviceSettings & { readonly folder: string }

let gateway: Instance
/** A machine with nothing on it but what people have kept of shares. */
const desk = (...names: string[]): string => join(gateway.folder, "..", "desk", ...names)

beforeAll(async () => {
  gateway = await Instance.create()
  mkdirSync(desk())
  for (const [address, format] of [
    [ALICE, "smime"],
    [CAROL, "openpgp"],
  ] as const) {
    await gateway.must("account", "add", address, "--format", format)
    await gateway.device(address, "laptop")
  }
  await gateway.serve()
  await deliver(ALICE, OLD, 1)
  await deliver(CAROL, OLD, 1)
  for (const address of [ALICE, CAROL]) {
    await gateway.must("account", "escrow", address, desk(`${address}-old.dare`))
    await gateway.must("account", "rekey", address, "--out", desk("files"))
    // What it gives is random: they are made of the keyring, and need nothing else.
    const shares = (await gateway.must("account", "recovery", address, "--shares", "3", "--threshold", "2")).trim()
    for (const [index, share] of shares.split("\n").entries()) write(`${address}-${index + 1}.txt`, share)
    await gateway.must("account", "escrow", address, desk(`${address}.dare`))
  }
  await deliver(ALICE, NEWER, 2)
  await deliver(CAROL, NEWER, 2)
  rmSync(join(gateway.folder, "keyring"), { recursive: true })
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

function write(name: string, text: string): void {
  writeFileSync(desk(name), `${text}\n`)
}

const shares = (address: string, ...numbers: number[]) => numbers.map((number) => desk(`${address}-${number}.txt`))

function stored(of: Instance, address: string): string[] {
  return ["new", "cur"].flatMap((name) => {
    const folder = join(of.maildir(address), name)
    return existsSync(folder) ? readdirSync(folder).map((file) => join(folder, file)) : []
  })
}

async function deliver(to: string, text: string, count: number): Promise<void> {
  const message = `From: bob@elsewhere.test\r\nTo: ${to}\r\nSubject: x\r\n\r\n${text}\r\n`
  expect(await sendMail(gateway.port, "bob@elsewhere.test", [to], Buffer.from(message))).toMatch(/^250 /)
  await eventually("delivery", () => stored(gateway, to).length === count)
}

/** A command on the machine without an instance: where this test runs there may be one (`npm start` makes it). */
async function atDesk(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ownProcess([...args, "--keyring", desk("keyring")], {}, desk())
  if (code !== 0) throw new Error(stderr)
  return Buffer.from(stdout).toString()
}

async function read(device: Device, uid: number, open: typeof openWithOpenssl): Promise<string> {
  using session = await ImapSession.open(device)
  await session.must("SELECT INBOX")
  return Buffer.from((await open(await session.fetch(uid, "BODY.PEEK[]"), device)) ?? []).toString()
}

describe("the keyring is lost", () => {
  test.each<[name: string, args: () => string[], why: RegExp]>([
    ["one share of three", () => shares(ALICE, 1), /shares: 2 are needed/],
    ["the same share twice", () => shares(ALICE, 1, 1), /two are for one place/],
    [
      "shares of two accounts",
      () => [...shares(ALICE, 1), ...shares(CAROL, 2)],
      /make no seed|different secrets|another account/,
    ],
    ["shares of another account", () => shares(CAROL, 1, 2), /another account, or one of them is wrong/],
    ["all shares, one of them another account's", () => [...shares(ALICE, 1, 2), ...shares(CAROL, 3)], /do not agree/],
  ])("%s does not make it again", async (_, files, why) => {
    const restore = atDesk("account", "restore", ALICE, "--escrow", desk(`${ALICE}.dare`), "--shares", ...files())
    await expect(restore).rejects.toThrow(why)
    expect(existsSync(desk("keyring"))).toBe(false)
  })

  test("what the server kept before the last key is refused where the server tells", async () => {
    const kept = ["--escrow", desk(`${ALICE}-old.dare`), "--shares", ...shares(ALICE, 1, 2)]
    await expect(gateway.must("account", "restore", ALICE, ...kept)).rejects.toThrow(
      /is older than key [0-9a-f]+ of the/,
    )
    expect(existsSync(join(gateway.folder, "keyring"))).toBe(false)
  })

  test.skipIf(!peer("openssl"))(
    "two of three shares on an empty machine make it again, and a new device reads old mail: OpenSSL",
    async () => {
      const kept = ["--escrow", desk(`${ALICE}.dare`)]
      expect(await atDesk("account", "restore", ALICE, ...kept, "--shares", ...shares(ALICE, 1, 3))).toMatch(
        /1 devices in it/,
      )
      await atDesk("device", "add", ALICE, "tablet", "--out", desk("tablet"), "--offline", desk("tablet.req"))
      await gateway.must("accept", desk("tablet.req"))
      const { host: _, ...imap } = JSON.parse(await gateway.must("device", "list", ALICE, "--json"))
      expect(imap).toBeDefined()
      const settings = JSON.parse(readFileSync(desk("tablet", "tablet.json"), "utf8"))
      const tablet: Device = { ...settings, folder: desk("tablet"), imap: { ...settings.imap, port: gateway.port + 4 } }
      expect(await read(tablet, 1, openWithOpenssl)).toContain(OLD)
      expect(await read(tablet, 2, openWithOpenssl)).toContain(NEWER)
    },
  )

  test.skipIf(!peer("gpg"))("where the server is at hand, what it keeps is taken from there: GnuPG", async () => {
    await gateway.must("account", "restore", CAROL, "--shares", ...shares(CAROL, 2, 3))
    const tablet = await gateway.device(CAROL, "tablet")
    expect(await read(tablet, 1, openWithGnupg)).toContain(OLD)
    expect(await read(tablet, 2, openWithGnupg)).toContain(NEWER)
    await expect(gateway.must("account", "restore", CAROL, "--shares", ...shares(CAROL, 2, 3))).rejects.toThrow(
      /the keyring has keys of it/,
    )
  })
})

describe("the server is lost, too", () => {
  let empty: Instance
  beforeAll(async () => {
    empty = await Instance.create()
    for (const address of [ALICE, CAROL]) {
      const kept = ["--escrow", desk(`${address}.dare`), "--shares", ...shares(address, 1, 2)]
      expect(await empty.must("account", "restore", address, ...kept)).toContain("the account is made anew")
      mkdirSync(empty.maildir(address), { recursive: true })
      cpSync(gateway.maildir(address), empty.maildir(address), { recursive: true })
    }
    await empty.serve()
  })
  afterAll(async () => empty?.[Symbol.asyncDispose]())

  test("the account is the same in the Mesh, connected to the gateway that there is now", async () => {
    const meshOf = async (of: Instance) => JSON.parse(await of.must("account", "show", ALICE, "--json")).mesh
    const [before, after] = [await meshOf(gateway), await meshOf(empty)]
    expect(after.udf).toBe(before.udf)
    expect(after.service).not.toBe(before.service)
  })

  test.each<[string, string, typeof openWithOpenssl]>([
    ["OpenSSL", ALICE, openWithOpenssl],
    ["GnuPG", CAROL, openWithGnupg],
  ])("a new device reads what was stored before: %s", async (_, address, open) => {
    const device = await empty.device(address, "laptop")
    expect(await read(device, 1, open)).toContain(OLD)
    expect(await read(device, 2, open)).toContain(NEWER)
  })
})
