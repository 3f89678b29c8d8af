import { expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { silentLog } from "../../src/log/log.ts"
import { formatAddress } from "../../src/message/address.ts"
import { ContactBook } from "../../src/store/contact-book.ts"
import { People } from "../../src/store/people.ts"
import { tellOfRequests } from "../../src/wire/contacts.ts"
import { carol, dave, hers, NOON, request } from "../mesh/contact-world.ts"
import { openedState } from "../mesh-in/world.ts"

const DAVE = dave.profile.address
const CAROL = carol.profile.address

test("a request that cannot be shown keeps nobody from hearing of those behind it, and is not taken for told", async () => {
  await using opened = await openedState()
  const people = new People(opened.state, { domains: ["two.example"], postmaster: null, recryptionKeys: null })
  const some = Uint8Array.of(4)
  const rest = { name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" } as const
  people.addAccount({ address: DAVE, ...rest }, NOON)
  const book = new ContactBook(opened.state)
  const asking = { account: DAVE, service: hers.profile.udf, introducer: "" }
  const damaged = { address: "eve@three.example", udf: "MEVE", profile: some, message: some }
  book.contacts.ask({ ...asking, ...damaged }, NOON)
  const { udf, envelope } = carol.profile
  book.contacts.ask({ ...asking, address: CAROL, udf, profile: envelope, message: request() }, NOON)
  const sent: string[] = []
  const failed: unknown[] = []
  const core = {
    config: parseConfig('domains = ["two.example"]', "/x"),
    now: () => NOON,
    log: { ...silentLog(), error: (event: string, fields: object = {}) => void failed.push([event, fields]) },
  }
  const reports = {
    submit: async ({ to, octets }: { to: Parameters<typeof formatAddress>[0]; octets: Uint8Array }) => {
      sent.push(`${formatAddress(to)} ${Buffer.from(octets).toString().includes(CAROL)}`)
    },
  }
  await tellOfRequests(core, book, reports)
  expect(sent).toEqual([`${DAVE} true`])
  expect(failed).toEqual([["mesh.contacts-failed", { account: DAVE, address: "eve@three.example" }]])
  expect(book.contacts.untold(9).map(({ address }) => address)).toEqual(["eve@three.example"])
})
