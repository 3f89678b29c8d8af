import { existsSync, readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { offeredCapabilities } from "../../src/imap-proxy/capabilities.ts"
import { upstreamOf } from "./answering.ts"
import { BareClient } from "./client.ts"
import { LAPTOP } from "./rig.ts"

/** Capabilities that go to the client when the upstream has them. */
const OFFERED =
  `ACL APPENDLIMIT APPENDLIMIT=1000 CHILDREN CONDSTORE CREATE-SPECIAL-USE ENABLE ESEARCH ESORT I18NLEVEL=1 ID IDLE
LIST-EXTENDED LIST-MYRIGHTS LIST-STATUS MOVE MULTIAPPEND NAMESPACE OBJECTID QRESYNC QUOTA QUOTA=RES-STORAGE QUOTASET RIGHTS=texk SAVEDATE
SEARCHRES SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS UIDPLUS UNSELECT WITHIN`.split(
    /\s+/,
  )

/** Those that never do, and what a client that used them all the same would send. */
const WITHHELD: readonly [capability: string, ...commands: string[]][] = [
  ["ANNOTATE-EXPERIMENT-1", "FETCH 1 (ANNOTATION (/comment value))", "STORE 1 ANNOTATION (/comment (value.priv x))"],
  ["AUTH=PLAIN", "AUTHENTICATE PLAIN", "LOGIN a b"],
  [
    "BINARY",
    ...["FETCH 1 BINARY[1]", "FETCH 1 BINARY.PEEK[1]<0.9>", "FETCH 1 (UID BINARY.SIZE[1])", "FETCH 1 binary[]"],
  ],
  ["CATENATE", 'APPEND INBOX CATENATE (URL "/INBOX/;UID=1")', "APPEND INBOX CATENATE (TEXT {3+}\r\nabc)"],
  ["COMPRESS=DEFLATE", "COMPRESS DEFLATE"],
  ["CONTEXT=SEARCH", "SEARCH RETURN (UPDATE) ALL", "UID SEARCH RETURN (COUNT CONTEXT) ALL", 'CANCELUPDATE "a"'],
  ["CONTEXT=SORT", "SORT RETURN (UPDATE) (DATE) UTF-8 ALL", "UID SORT RETURN (PARTIAL 1:5) (DATE) UTF-8 ALL"],
  ["CONVERT", 'CONVERT 1 ("text/plain") BINARY[1]', 'UID CONVERT 1 ("text/plain") BINARY[1]'],
  ["FILTERS"],
  ["I18NLEVEL=2", "COMPARATOR i;unicode-casemap"],
  ["IMAP4REV2"],
  ["IMAPSIEVE=sieve.example.test"],
  ["INPROGRESS"],
  ["JMAPACCESS", "GETJMAPACCESS"],
  ["LANGUAGE", "LANGUAGE de"],
  ["LIST-METADATA", 'LIST "" % RETURN (METADATA ("/shared/comment"))'],
  ["LITERAL-"],
  ["LOGIN-REFERRALS"],
  ["LOGINDISABLED"],
  ["MAILBOX-REFERRALS", 'RLIST "" *', 'RLSUB "" *'],
  ["MESSAGELIMIT=1000"],
  ["METADATA", "GETMETADATA INBOX /shared/comment", 'SETMETADATA INBOX (/private/comment "x")'],
  ["METADATA-SERVER", 'GETMETADATA "" /shared/comment'],
  ["MULTISEARCH", 'ESEARCH IN (subtree "x") ALL'],
  ["NOTIFY", "NOTIFY SET (selected (MessageNew (BODY.PEEK[]) MessageExpunge))", "NOTIFY NONE"],
  ["PARTIAL", "SEARCH RETURN (PARTIAL 1:5) ALL", "UID FETCH 1:* (FLAGS) (PARTIAL -1:-5)"],
  ["PREVIEW", "FETCH 1 PREVIEW", "FETCH 1 (UID PREVIEW (LAZY))"],
  ["PREVIEW=FUZZY", "FETCH 1 (PREVIEW (FUZZY))"],
  ["REPLACE", "REPLACE 1 INBOX {3+}\r\nabc", "UID REPLACE 1 INBOX {3+}\r\nabc"],
  ["SASL-IR"],
  ["SEARCH=FUZZY", "SEARCH RETURN (RELEVANCY) FUZZY TEXT x"],
  ["SNIPPET=FUZZY", "FETCH 1 SNIPPET", "FETCH 1 (SNIPPET (LAZY=FUZZY))"],
  ["STARTTLS", "STARTTLS"],
  ["UIDBATCHES", "UIDBATCHES 1000"],
  ["UIDONLY"],
  ["UNAUTHENTICATE", "UNAUTHENTICATE"],
  ["URL-PARTIAL"],
  [
    "URLAUTH",
    ...["GENURLAUTH imap://x INTERNAL", "URLFETCH imap://x", "RESETKEY INBOX INTERNAL", "URLFETCH (imap://x BODY)"],
  ],
  ["URLAUTH=BINARY", "URLFETCH (imap://x BINARY)"],
  ["UTF8=ACCEPT"],
  ["UTF8=ONLY"],
  [
    "X-GM-EXT-1",
    ...[
      "FETCH 1 X-GM-LABELS",
      "FETCH 1 (X-GM-MSGID X-GM-THRID)",
      "STORE 1 +X-GM-LABELS (x)",
      "UID STORE 1 X-GM-LABELS.SILENT (x)",
    ],
  ],
  ["XAPPLEPUSHSERVICE", "XAPPLEPUSHSERVICE aps-version 2"],
  ["XLIST", 'XLIST "" *'],
  // Dovecot's own, behind no capability.
  ["X-DOVECOT", "FETCH 1 X-GUID", "STATUS INBOX (X-GUID)", 'LIST "" % RETURN (STATUS (MESSAGES X-GUID))', "X-STATE"],
]

/** Options that stay allowed where others of their commands are not. */
const ALLOWED = [
  "SEARCH RETURN (MIN MAX ALL COUNT SAVE) ALL",
  "SEARCH RETURN () CHARSET UTF-8 SUBJECT RETURN",
  "UID SORT RETURN (COUNT) (REVERSE DATE) UTF-8 YOUNGER 5",
  "STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT DELETED)",
  'LIST (SUBSCRIBED RECURSIVEMATCH) "" ("INBOX" % RETURN) RETURN (CHILDREN SPECIAL-USE STATUS (MESSAGES UNSEEN))',
  "SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541))",
  "EXAMINE INBOX (CONDSTORE)",
  "CREATE Archive (USE (\\Archive))",
  "STORE 1 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted METADATA)",
  "UID STORE 1 flags X-GM-LABELS",
  "FETCH 1:* (EMAILID THREADID SAVEDATE MODSEQ)",
  "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
  "MYRIGHTS INBOX",
  "GETQUOTAROOT INBOX",
]

describe("what the upstream has", () => {
  test.each(OFFERED)("%s is offered", (name) => {
    expect(offeredCapabilities(["X-OTHER", name])).toBe(`IMAP4rev1 LITERAL+ ${name}`)
  })

  test.each(WITHHELD.map(([name]) => name))("%s is withheld", (name) => {
    expect(offeredCapabilities([name, name.toLowerCase(), "IDLE"])).toBe("IMAP4rev1 LITERAL+ IDLE")
  })

  test("and what is not known: withheld", () => {
    expect(offeredCapabilities(["IMAP4rev1", "idle", "X-NEW", "THREADS", "SORT=NEW"])).toBe("IMAP4rev1 LITERAL+ idle")
  })
})

describe("what is withheld", () => {
  const capabilities = ["IMAP4rev1", "LITERAL+", ...OFFERED, ...WITHHELD.map(([name]) => name)].join(" ")
  const greeting = `* PREAUTH [CAPABILITY ${capabilities}] ready\r\n`

  test("is refused when it is sent all the same, and does not reach the upstream", async () => {
    await using upstream = await upstreamOf(() => null, greeting)
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    for (const command of WITHHELD.flatMap(([, ...commands]) => commands))
      expect(await client.command(command), command).toMatch(/^t\d+ BAD /)
    expect(upstream.commands).toEqual([])
  })

  test("is not enabled", async () => {
    await using upstream = await upstreamOf(() => null, greeting)
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    const answer = await client.command("ENABLE UTF8=ACCEPT IMAP4rev2 UIDONLY METADATA X")
    expect(answer).toMatch(/^\* ENABLED\r\nt\d+ OK/)
    await client.ok("ENABLE IMAP4rev2 condstore UTF8=ACCEPT QRESYNC")
    expect(upstream.commands).toEqual(["ENABLE condstore QRESYNC"])
  })

  test("options of the same commands that are offered pass as they are", async () => {
    await using upstream = await upstreamOf(() => null, greeting)
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    for (const command of ALLOWED) await client.ok(command)
    expect(upstream.commands).toEqual(ALLOWED)
  })
})

describe("docs/IMAP.md", () => {
  const lines = readFileSync(new URL("../../docs/IMAP.md", import.meta.url), "utf8").split("\n")

  test("says of each capability whether it is offered", () => {
    const told = (name: string): string | undefined =>
      lines.find((line) => line.startsWith("| `") && line.split("|")[1]?.includes(`\`${name}\``))
    for (const name of OFFERED) expect(told(family(name)), name).toMatch(/^\|[^|]+\| offered \|/)
    for (const [name] of WITHHELD) expect(told(family(name)), name).toMatch(/^\|[^|]+\| withheld \|/)
  })

  test("has a word on each of the 82 traps, and names tests that exist", () => {
    const traps = lines.flatMap((line) => /^\| (\d+) \|/.exec(line)?.[1] ?? [])
    expect(traps).toEqual(Array.from({ length: 82 }, (_, index) => `${index + 1}`))
    const named = [...lines.join("\n").matchAll(/`([\w-]+\/[\w/-]+(?:\.test)?\.ts)(?:: ([^`]+))?`/g)]
    expect(named.length).toBeGreaterThan(100)
    for (const [, file = "", name = ""] of named) {
      const path = new URL(`../${file.replace(/^test\//, "")}`, import.meta.url)
      expect([file, existsSync(path)]).toEqual([file, true])
      const source = readFileSync(path, "utf8").replaceAll("\\\\", "\\")
      expect(source.includes(name), `${file}: ${name}`).toBe(true)
    }
  })
})

/** As the page writes it: what follows `=` differs from server to server. */
function family(name: string): string {
  return name
    .replace(/^(AUTH|APPENDLIMIT|MESSAGELIMIT|QUOTA=RES|RIGHTS|THREAD|IMAPSIEVE)[=-].*$/, "$1=…")
    .replace("QUOTA=RES=…", "QUOTA=RES-…")
}
