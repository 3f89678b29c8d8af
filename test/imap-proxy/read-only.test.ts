import { afterAll, beforeAll, expect, test } from "vitest"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient } from "./client.ts"
import { embedded, LAPTOP, READER, type Rig, startRig } from "./rig.ts"

let folder: TemporaryFolder
let store: ReturnType<typeof embedded>
let rig: Rig
let owner: BareClient
let reader: BareClient

const MESSAGE = "Subject: x\r\n\r\nbody\r\n"

beforeAll(async () => {
  folder = await temporaryFolder()
  store = embedded(folder.path)
  rig = await startRig({ upstream: store.upstream })
  owner = await BareClient.loggedIn(rig, LAPTOP)
  await owner.ok("CREATE Other")
  await owner.ok(`APPEND INBOX {${MESSAGE.length}+}\r\n${MESSAGE}`)
  await owner.ok(`APPEND INBOX (\\Deleted) {${MESSAGE.length}+}\r\n${MESSAGE}`)
  reader = await BareClient.loggedIn(rig, READER)
})

afterAll(async () => {
  await owner[Symbol.asyncDispose]()
  await reader[Symbol.asyncDispose]()
  await rig[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

/** All that writing could change, as the owner sees it. */
async function seen(): Promise<string> {
  await owner.ok("SELECT INBOX")
  const parts = ["UID FETCH 1:* (FLAGS)", 'LIST "" "*"', 'LSUB "" "*"', "STATUS Other (MESSAGES UIDNEXT)"]
  const answers: string[] = []
  for (const part of parts) answers.push((await owner.ok(part)).replaceAll(/^t\d+ .*$/gm, ""))
  return answers.join("")
}

const WRITES = [
  "STORE 1 +FLAGS (\\Seen)",
  "UID STORE 1 FLAGS.SILENT ()",
  "uid store 1 +flags {5+}\r\n\\Seen",
  "STORE 1 (UNCHANGEDSINCE 99) +FLAGS (\\Seen)",
  "EXPUNGE",
  "UID EXPUNGE 1:*",
  "COPY 1 Other",
  "UID COPY 1 Other",
  "UID COPY 1 {5+}\r\nOther",
  "MOVE 1 Other",
  "UID MOVE 1 Other",
  "CREATE New",
  "CREATE {3+}\r\nNew",
  "DELETE Other",
  "RENAME Other Elsewhere",
  "SUBSCRIBE INBOX",
  "UNSUBSCRIBE INBOX",
  'SETQUOTA "" (STORAGE 1)',
  "SETACL INBOX bob lrs",
  "DELETEACL INBOX bob",
  `APPEND INBOX {${MESSAGE.length}+}\r\n${MESSAGE}`,
  `APPEND {5+}\r\nINBOX (\\Seen) {${MESSAGE.length}+}\r\n${MESSAGE}`,
  `APPEND INBOX {${MESSAGE.length}}`,
]
/** Known to some servers, let through to nobody. */
const UNKNOWN = [
  "REPLACE 1 INBOX {3+}\r\nx\r\n",
  "UID REPLACE 1 INBOX {3+}\r\nx\r\n",
  'SETMETADATA INBOX (/private/comment "x")',
  "SETANNOTATION INBOX x (y z)",
  "UID CREATE New",
  "UNDELETE 1",
]

for (const selected of [false, true])
  test(`no command writes for a read-only device, ${selected ? "with" : "without"} a mailbox selected`, async () => {
    const before = await seen()
    if (selected) expect(await reader.ok("SELECT INBOX")).toContain("OK [READ-ONLY]")
    for (const text of WRITES) expect([text, await reader.command(text)]).toEqual([text, refused("NO [NOPERM]")])
    for (const text of UNKNOWN) expect([text, await reader.command(text)]).toEqual([text, refused("BAD")])
    expect(await seen()).toBe(before)
  })

const selections = [
  "SELECT INBOX",
  "select inbox",
  "SELECT {5+}\r\nINBOX",
  'SELECT "INBOX" (CONDSTORE)',
  "EXAMINE INBOX",
]
for (const text of selections)
  test(`${JSON.stringify(text)} selects for reading: nothing becomes seen, and CLOSE removes nothing`, async () => {
    const before = await seen()
    const answer = await reader.command(text)
    // The embedded store knows no CONDSTORE; it must not be selected for writing then either.
    if (!answer.includes("BAD")) {
      expect(answer).toContain("OK [READ-ONLY]")
      expect(await reader.ok("FETCH 1 BODY[]")).toContain("BODY[]")
      await reader.ok("CLOSE")
    }
    expect(await seen()).toBe(before)
  })

function refused(answer: string): unknown {
  return expect.stringMatching(new RegExp(`(?:^|\\n)t\\d+ ${answer.replaceAll(/[[\]]/g, "\\$&")}`))
}
