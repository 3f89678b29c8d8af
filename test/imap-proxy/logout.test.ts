import type { Duplex } from "node:stream"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Upstream } from "../../src/imap-proxy/ports.ts"
import type { UpstreamEndpoint } from "../../src/imap-proxy/upstream.ts"
import { testCertificate } from "../harness/certificate.ts"
import { Dovecot, dovecotPossible } from "../harness/dovecot.ts"
import { eventually } from "../harness/instance.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { BareClient } from "./client.ts"
import { MESSAGES } from "./messages.ts"
import { LAPTOP, PHONE, type Rig, startRig } from "./rig.ts"

/** Sessions after which the connection is as it was behind its login. */
const TRACELESS: readonly (readonly string[])[] = [
  [],
  ["NOOP", "CAPABILITY", 'LIST "" *', "STATUS INBOX (MESSAGES UIDNEXT)", "NAMESPACE", 'ID ("name" "x")'],
  ["SELECT INBOX", "UID FETCH 1:* (FLAGS BODY.PEEK[])", "UID SEARCH ALL", "STORE 1 +FLAGS (\\Answered)"],
  ["EXAMINE INBOX", "CLOSE"],
  ["SELECT INBOX", "UNSELECT", "SELECT INBOX"],
  ["SELECT INBOX", "STORE 1 +FLAGS (\\Deleted)"],
]
/** Sessions that leave something on. */
const TRACES: readonly (readonly string[])[] = [
  ["ENABLE CONDSTORE"],
  ["ENABLE QRESYNC", "SELECT INBOX"],
  ["SELECT INBOX (CONDSTORE)"],
  ["SELECT INBOX", "FETCH 1 (MODSEQ)"],
  ["SELECT INBOX", "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)"],
  ["SELECT INBOX", "STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)"],
  ["SELECT INBOX", "SEARCH MODSEQ 1"],
  ["STATUS INBOX (HIGHESTMODSEQ)"],
  ["status INBOX (highestmodseq)"],
]
/** What the next session sees of the connection. */
const PROBES: readonly string[] = [
  "CAPABILITY",
  "FETCH 1 (FLAGS)",
  "EXPUNGE",
  'LIST "" *',
  "SELECT INBOX",
  "SEARCH $",
  "NOOP",
  "STORE 1 +FLAGS (Probe)",
  "STORE 1 -FLAGS (Probe)",
  "FETCH 1:* (UID FLAGS)",
  "LOGOUT",
]

describe.skipIf(!dovecotPossible).each(["plain", "starttls"] as const)(
  "LOGOUT before a Dovecot over %s",
  (security) => {
    let folder: TemporaryFolder
    let dovecot: Dovecot
    let rig: Rig
    let upstream: Upstream
    /** Each login's. */
    const streams: Duplex[] = []

    beforeAll(async () => {
      folder = await temporaryFolder()
      const tls = await testCertificate()
      dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"), { tls })
      const endpoint: UpstreamEndpoint = { kind: "tcp", host: "127.0.0.1", port: dovecot.imapPort, security }
      const keep = { milliseconds: 60_000, connections: 10, perClient: 10 }
      const kept = upstreamAt(endpoint, { authority: security === "plain" ? null : tls.certificate, keep })
      upstream = {
        ...kept,
        connect: async (...of) => {
          const stream = await kept.connect(...of)
          streams.push(stream)
          return stream
        },
      }
      rig = await startRig({ upstream })
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      const text = MESSAGES["smime"] ?? ""
      for (let count = 0; count < 2; count++) await client.ok(`APPEND INBOX {${text.length}+}\r\n${text}`)
    })

    afterAll(async () => {
      await rig?.[Symbol.asyncDispose]()
      await dovecot?.[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    })

    /** @returns the session's upstream connection, and what the client was answered */
    async function session(
      commands: readonly string[],
      device = LAPTOP,
    ): Promise<{ readonly stream: Duplex | undefined; readonly answers: string }> {
      await using client = await BareClient.loggedIn(rig, device)
      const stream = streams.at(-1)
      const answers: string[] = []
      for (const command of commands) answers.push(await client.command(command))
      answers.push(await client.rest())
      return { stream, answers: answers.join("") }
    }

    /** Nothing is left for the next login. */
    async function endKept(): Promise<void> {
      await session(["ENABLE CONDSTORE", "LOGOUT"])
    }

    test("the client sees BYE and OK, in this order, and the end", async () => {
      const { answers, stream } = await session(["LOGOUT"])
      expect(answers).toBe("* BYE logging out\r\nt2 OK LOGOUT completed\r\n")
      expect(stream?.destroyed).toBe(false)
    })

    test.each(TRACELESS)("leaves the connection for the next login: %s %s %s %s", async (...commands) => {
      await endKept()
      const { stream } = await session([...commands, "LOGOUT"])
      expect((await session(["LOGOUT"], PHONE)).stream).toBe(stream)
    })

    test.each(TRACES)("ends a connection on which something stays switched on: %s %s", async (...commands) => {
      const { stream, answers } = await session([...commands, "LOGOUT"])
      expect(answers).toMatch(/\* BYE [^\r]*\r\nt\d+ OK [^\r]*\r\n$/)
      await eventually("the connection is ended", () => stream?.destroyed === true)
      expect((await session(["LOGOUT"])).stream).not.toBe(stream)
    })

    test("whatever the session before did, the next one sees what it would on a connection of its own", async () => {
      // One keyword more changes what SELECT says.
      await session(["SELECT INBOX", "STORE 1 FLAGS (Probe)", "STORE 1 FLAGS ()", "ENABLE CONDSTORE", "LOGOUT"])
      const fresh = await session(PROBES)
      expect(fresh.answers).toMatch(/t3 (?:NO|BAD) [^\r]*\r\nt4 (?:NO|BAD) /)
      for (const commands of TRACELESS) {
        const { stream } = await session([...commands, "LOGOUT"])
        await session(["SELECT INBOX", "STORE 1 -FLAGS (\\Deleted \\Answered)", "LOGOUT"])
        const next = await session(PROBES)
        expect(next.stream).toBe(stream)
        expect(timeless(next.answers)).toBe(timeless(fresh.answers))
      }
    })

    test("expunges nothing", async () => {
      await session(["SELECT INBOX", "STORE 2 +FLAGS (\\Deleted)", "LOGOUT"])
      const { answers } = await session(["SELECT INBOX", "STORE 2 -FLAGS (\\Deleted)", "LOGOUT"])
      expect(answers).toContain("* 2 EXISTS")
    })

    test("behind other commands in one write is answered last", async () => {
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      const stream = streams.at(-1)
      client.send("a SELECT INBOX\r\nb UID FETCH 1:* (BODY.PEEK[])\r\nc NOOP\r\nd LOGOUT\r\ne NOOP\r\n")
      const answers = await client.rest()
      expect(answers.match(/^(?:[a-e] |\* BYE )\S*/gm)).toEqual(["a OK", "b OK", "c OK", "* BYE logging", "d OK"])
      expect((await session(["LOGOUT"])).stream).toBe(stream)
    })

    test("a client that just goes takes its connection along", async () => {
      const client = await BareClient.loggedIn(rig, LAPTOP)
      const stream = streams.at(-1)
      client.destroy()
      await eventually("the connection is ended", () => stream?.destroyed === true)
    })

    test("octets of the sessions before are not counted again", async () => {
      const upstreamOctets = async (): Promise<number> =>
        Number(
          /^postern_imap_octets_total\{side="upstream",direction="in"\} (\d+)/m.exec(await rig.metrics())?.[1] ??
            Number.NaN,
        )
      await session(["SELECT INBOX", "UID FETCH 1:* (BODY.PEEK[])", "LOGOUT"])
      const before = await upstreamOctets()
      await session(["LOGOUT"])
      expect((await upstreamOctets()) - before).toBeLessThan(200)
    })

    test("a revoked device's connection is not kept", async () => {
      await using other = await startRig({ upstream })
      await using client = await BareClient.loggedIn(other, PHONE)
      const stream = streams.at(-1)
      other.revoke(PHONE)
      expect(await client.rest()).toContain("* BYE device revoked")
      await eventually("the connection is ended", () => stream?.destroyed === true)
    })
  },
)

/** Without the times that Dovecot tells, and the number of changes so far. */
function timeless(answers: string): string {
  return answers.replaceAll(/\([0-9.]+ \+ [0-9.]+[^)]*\)|HIGHESTMODSEQ \d+/g, "")
}
