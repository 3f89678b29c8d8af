import { expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { silentLog } from "../../src/log/log.ts"
import { MeshStores } from "../../src/store/mesh-stores.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { startInboundSweep } from "../../src/wire/mesh-inbound.ts"
import { eventually } from "../harness/instance.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { insertMeshAccounts } from "../store/conformance/mesh-stores.ts"

const ALICE = "alice@example.test"
const DAY_MS = 86_400_000

test("originals are dropped when they have been kept for as long as is configured, however many they are", async () => {
  await using folder = await temporaryFolder()
  const text = 'domains = ["example.test"]\nhostname = "mx.example.test"\n[mesh]\nkeep = "5d"\n'
  const config = parseConfig(text, folder.file("postern.toml"))
  const database = openEmbeddedState(folder.file("data"))
  insertMeshAccounts(database, ALICE)
  const stores = new MeshStores(database, 10_000_000)
  const now = () => new Date("2026-11-27T12:00:00Z")
  const put = (store: string, ageMs: number, count: number) =>
    stores.append(
      ALICE,
      [
        {
          store,
          expected: null,
          entries: Array.from({ length: count }, (_, index) => ({ name: `${index}`, content: new Uint8Array(100) })),
        },
      ],
      new Date(now().getTime() - ageMs),
    )
  put("Inbound", 6 * DAY_MS, 1_000)
  put("Inbound", 4 * DAY_MS, 3)
  put("Local", 60 * DAY_MS, 2)
  put("Connect", 31 * DAY_MS, 5)
  put("Connect", 29 * DAY_MS, 1)
  const octets = stores.octets(ALICE)
  {
    await using _sweep = startInboundSweep({ database, config, now, log: silentLog() }, 1)
    await eventually("the old ones are dropped", () => stores.frames(ALICE, "Inbound", 0, 1).first === 1_001)
    await eventually("and what was asked", () => stores.frames(ALICE, "Connect", 0, 1).first === 6)
  }
  expect(stores.frames(ALICE, "Inbound", 0, 1_000_000).frames).toHaveLength(3)
  expect(stores.frames(ALICE, "Connect", 0, 1_000_000).frames).toHaveLength(1)
  expect(stores.frames(ALICE, "Local", 0, 1_000_000).frames).toHaveLength(3)
  expect([stores.end(ALICE, "Inbound").frames, stores.octets(ALICE) < octets / 10]).toEqual([1_004, true])
  database.close()
})
