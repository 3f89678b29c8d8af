import { expect, onTestFinished, test, vi } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { GatewayError } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import { envelopeIdOf } from "../../src/mesh/message-id.ts"
import { KeptMeshMail } from "../../src/store/mesh-mail.ts"
import { MeshStores } from "../../src/store/mesh-stores.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { type Original, Originals } from "../../src/wire/originals.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { insertMeshAccounts } from "../store/conformance/mesh-stores.ts"

const [ALICE, BOB] = ["alice@example.test", "bob@example.test"]
const NOW = new Date("2026-11-27T12:00:00Z")

async function keeping(options = "") {
  const folder = await temporaryFolder()
  const config = parseConfig(
    `domains = ["example.test"]\nhostname = "mx.example.test"\n${options}`,
    folder.file("postern.toml"),
  )
  const database = openEmbeddedState(folder.file("data"))
  onTestFinished(async () => {
    database.close()
    await folder[Symbol.asyncDispose]()
  })
  insertMeshAccounts(database, ALICE, BOB)
  const seen = new KeptMeshMail(database)
  const log = silentLog()
  const originals = new Originals({ database, config, log, now: () => NOW }, seen)
  const stores = new MeshStores(database, config.mesh.storageOctets)
  return { database, log, originals, seen, stores }
}

function nameOf(number: number): string {
  return presentUdf(binaryUdf(UDF_TYPE.nonce, new Uint8Array(16).fill(number)))
}

function mail(number: number, keeper: string | null = null): Original {
  const some = (count: number) => new Uint8Array(count).fill(number)
  const messageId = nameOf(number)
  const identity = { recipient: "MBOB", messageId, digest: some(64), sender: "MALI", salt: some(16) }
  return { mail: { ...identity, payloadDigest: some(64) }, message: some(12_000), keeper }
}

test("what comes in one turn is remembered with one transaction, and appended to each account's Inbound in its order", async () => {
  const { database, originals, seen, stores } = await keeping()
  const transactions = vi.spyOn(database, "transaction")
  const append = vi.spyOn(MeshStores.prototype, "append")
  onTestFinished(() => append.mockRestore())
  await Promise.all([1, 2, 3, 4].map((number) => originals.keep(number === 3 ? BOB : ALICE, mail(number))))
  expect(append).toHaveBeenCalledTimes(2)
  // Those within it join it.
  expect(transactions.mock.calls.filter(([, reachDisk]) => reachDisk === "later")).toHaveLength(1)
  for (const number of [1, 2, 3, 4]) {
    expect(seen.look(mail(number).mail)).toBe("accepted")
    const account = number === 3 ? BOB : ALICE
    expect(stores.newest(account, "Inbound", envelopeIdOf(nameOf(number)))).toEqual(mail(number).message)
  }
  expect([stores.end(ALICE, "Inbound").frames, stores.end(BOB, "Inbound").frames]).toEqual([4, 2])
  // A later turn is another batch.
  await originals.keep(ALICE, mail(5))
  expect(stores.end(ALICE, "Inbound").frames).toBe(5)
})

test("what cannot be written of one account is told to those who sent it, and is no matter of the others", async () => {
  const { originals, seen, stores } = await keeping()
  const append = vi.spyOn(MeshStores.prototype, "append").mockImplementation((account) => {
    if (account === BOB) throw new Error("no")
    return { kind: "appended", stores: [] }
  })
  const outcomes = await Promise.allSettled([BOB, ALICE, BOB].map((account, at) => originals.keep(account, mail(at))))
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"])
  expect([0, 1, 2].map((number) => seen.look(mail(number).mail))).toEqual(["new", "accepted", "new"])
  append.mockRestore()
  await originals.keep(BOB, mail(0))
  expect([seen.look(mail(0).mail), stores.end(BOB, "Inbound").frames]).toEqual(["accepted", 2])
})

test("a state that is away for a moment is away for those who came then, and for nobody who comes later", async () => {
  const { database, originals, seen, stores } = await keeping()
  const away = vi.spyOn(database, "transaction").mockImplementation(() => {
    throw new GatewayError("STATE_AWAY", "away")
  })
  await expect(originals.keep(ALICE, mail(1))).rejects.toThrow("away")
  away.mockRestore()
  await originals.keep(ALICE, mail(1))
  expect([seen.look(mail(1).mail), stores.end(ALICE, "Inbound").frames]).toEqual(["accepted", 2])
})

test("an Inbound that has room for some takes those", async () => {
  const { log, originals, stores } = await keeping('[mesh]\nstorage = "1MB"\n')
  const warn = vi.spyOn(log, "warn")
  const append = (octets: number) =>
    stores.append(
      ALICE,
      [{ store: "Inbound", expected: null, entries: [{ name: "", content: new Uint8Array(octets) }] }],
      NOW,
    )
  while (stores.octets(ALICE) < 855_000) append(12_000)
  const { frames } = stores.end(ALICE, "Inbound")
  await Promise.all([1, 2, 3, 4].map((number) => originals.keep(ALICE, mail(number))))
  expect(stores.end(ALICE, "Inbound").frames).toBe(frames + 1)
  expect(stores.newest(ALICE, "Inbound", envelopeIdOf(nameOf(1)))).toEqual(mail(1).message)
  expect(warn.mock.calls).toEqual([["mesh.not-archived", { account: ALICE, messages: 3, because: "full" }]])
})

test("a full Inbound takes no mail: it is remembered, and not archived", async () => {
  const { log, originals, seen, stores } = await keeping('[mesh]\nstorage = "1MB"\n')
  const warn = vi.spyOn(log, "warn")
  const entries = Array.from({ length: 80 }, (_, at) => ({ name: `${at}`, content: new Uint8Array(12_000) }))
  for (const entry of entries) stores.append(ALICE, [{ store: "Inbound", expected: null, entries: [entry] }], NOW)
  const { frames } = stores.end(ALICE, "Inbound")
  await Promise.all([1, 2].map((number) => originals.keep(ALICE, mail(number))))
  expect(stores.end(ALICE, "Inbound").frames).toBe(frames)
  expect([1, 2].map((number) => seen.look(mail(number).mail))).toEqual(["accepted", "accepted"])
  expect(warn).toHaveBeenCalledWith("mesh.not-archived", { account: ALICE, messages: 2, because: "full" })
})
