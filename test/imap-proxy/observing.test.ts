import { describe, expect, test } from "vitest"
import { createLog } from "../../src/log/written.ts"
import { eventually } from "../harness/instance.ts"
import { BareClient } from "./client.ts"
import { embeddedForFile } from "./file-store.ts"
import { ACCOUNT, LAPTOP, PHONE, type Rig, startRig } from "./rig.ts"

const upstream = embeddedForFile()

/** A rig, and the lines of its log. */
async function loggingRig(level: "debug" | "info"): Promise<{ rig: Rig; lines: Record<string, unknown>[] }> {
  const lines: Record<string, unknown>[] = []
  const log = createLog(level, { write: (line) => void lines.push(JSON.parse(line)) })
  return { rig: await startRig({ upstream, log }), lines }
}

const CANARY = "canaryXq7"
const CANARY_BASE64 = Buffer.from(`\0${CANARY}@example.test\0${CANARY}`).toString("base64")

/** Every command form with the canary wherever a client can put something; a number of answers is not waited for. */
const COMMANDS: readonly string[] = [
  `SELECT ${CANARY}`,
  `EXAMINE "${CANARY}"`,
  `CREATE {${CANARY.length}+}\r\n${CANARY}`,
  `DELETE ${CANARY}`,
  `RENAME ${CANARY} ${CANARY}2`,
  `SUBSCRIBE ${CANARY}`,
  `LIST "" ${CANARY}*`,
  `LSUB "" ${CANARY}*`,
  `STATUS ${CANARY} (MESSAGES)`,
  `SEARCH SUBJECT ${CANARY}`,
  `UID SEARCH BODY {${CANARY.length}}\r\n${CANARY}`,
  `FETCH 1 BODY[HEADER.FIELDS (${CANARY})]`,
  `UID FETCH 1:* (FLAGS ${CANARY})`,
  `STORE 1 +FLAGS (${CANARY})`,
  `COPY 1 ${CANARY}`,
  `MOVE 1 ${CANARY}`,
  `ID ("name" "${CANARY}")`,
  `ENABLE ${CANARY}`,
  `NOOP ${CANARY}`,
  `${CANARY} arguments`,
  `X${CANARY}`,
  `GETQUOTAROOT ${CANARY}`,
  `LOGIN ${CANARY} ${CANARY}`,
  `AUTHENTICATE PLAIN ${CANARY_BASE64}`,
  `FETCH 1 "unclosed ${CANARY}`,
]

describe("the log", () => {
  test("at debug level it names commands, sizes and times, and holds nothing of what they say", async () => {
    const { rig, lines } = await loggingRig("debug")
    await using _rig = rig
    await using client = await BareClient.secure(rig)
    for (const login of [
      `LOGIN ${CANARY}@example.test ${CANARY}`,
      `LOGIN {${CANARY.length}+}\r\n${CANARY} {${CANARY.length}+}\r\n${CANARY}`,
    ])
      expect(await client.command(login)).toMatch(/NO/)
    await using again = await BareClient.secure(rig)
    expect(await again.command(`AUTHENTICATE PLAIN ${CANARY_BASE64}`)).toMatch(/NO/)
    expect(await again.command(`X ${CANARY}`)).toMatch(/BAD/)
    await again.ok(`LOGIN ${ACCOUNT} ${PHONE}`)
    await again.ok("SELECT INBOX")
    for (const command of COMMANDS) await again.command(command)
    const message = `Subject: ${CANARY}\r\n\r\n${CANARY}\r\n`
    expect(await again.command(`APPEND INBOX (${CANARY}) {${message.length}+}\r\n${message}`)).toMatch(/OK|NO/)
    await again.ok("LOGOUT")
    await eventually("the session has ended", () => lines.some(({ event }) => event === "imap.end"))

    const text = JSON.stringify(lines)
    expect(text.toLowerCase()).not.toContain(CANARY.toLowerCase())
    expect(text).not.toContain(CANARY_BASE64)
    expect(text).not.toContain(Buffer.from(CANARY).toString("base64").slice(0, 9))
    const search = lines.find(({ event, name }) => event === "imap.command" && name === "UID SEARCH")
    expect(search).toMatchObject({ account: ACCOUNT, device: PHONE, sizeOctets: expect.any(Number) })
    expect(lines.find(({ event, name }) => event === "imap.completed" && name === "SEARCH")).toMatchObject({
      ms: expect.any(Number),
    })
  })

  test("a session is two lines: who came, and what became of it", async () => {
    const { rig, lines } = await loggingRig("info")
    await using _rig = rig
    const rows: [reason: string, leave: (client: BareClient) => unknown][] = [
      ["client", (client) => client.ok("LOGOUT")],
      ["client", (client) => client.destroy()],
      ["revoked", () => rig.revoke(LAPTOP)],
    ]
    for (const [reason, leave] of rows) {
      lines.length = 0
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      await client.ok("SELECT INBOX")
      await client.ok("NOOP")
      await leave(client)
      await eventually("the session has ended", () => lines.some(({ event }) => event === "imap.end"))
      expect(lines.map(({ event }) => event)).toEqual(["imap.login", "imap.end"])
      const who = { account: ACCOUNT, device: LAPTOP, remote: expect.stringMatching(/127\.0\.0\.1/) }
      expect(lines[0]).toMatchObject(who)
      const commands = expect.any(Number)
      const octetsOut = expect.any(Number)
      expect(lines[1]).toMatchObject({ ...who, reason, commands, octetsOut, seconds: expect.any(Number) })
      expect(lines[1]?.["octetsIn"]).toBeGreaterThan("t1 SELECT INBOX\r\nt2 NOOP\r\n".length)
    }
  })
})

test("the metrics count logins, commands, octets and endings, and each octet once", async () => {
  await using rig = await startRig({ upstream })
  await using wrong = await BareClient.secure(rig)
  await wrong.command(`LOGIN ${ACCOUNT} nonsense`)
  await using client = await BareClient.loggedIn(rig, LAPTOP)
  await client.ok("SELECT INBOX")
  await client.ok("NOOP")
  await client.ok("NOOP")
  await client.command("XYZZY")
  const seriesValue = (text: string, series: string): number =>
    Number(
      text
        .split("\n")
        .find((line) => line.startsWith(`${series} `))
        ?.slice(series.length + 1) ?? Number.NaN,
    )
  const fromClient = 'postern_imap_octets_total{side="client",direction="in"}'
  const open = await rig.metrics()
  const again = await rig.metrics()
  expect(seriesValue(open, fromClient)).toBeGreaterThan(0)
  expect(seriesValue(again, fromClient)).toBe(seriesValue(open, fromClient))
  await client.ok("LOGOUT")
  await eventually("it has left", () => rig.listener.connections.count === 1)
  const text = await rig.metrics()
  const rows: [series: string, value: number][] = [
    ['postern_imap_logins_total{outcome="ok"}', 1],
    ['postern_imap_logins_total{outcome="wrong"}', 1],
    ['postern_imap_commands_total{command="NOOP"}', 2],
    ['postern_imap_commands_total{command="SELECT"}', 1],
    ['postern_imap_commands_total{command="other"}', 1],
    ['postern_imap_handshakes_total{outcome="full"}', 2],
    ['postern_imap_ended_total{reason="client"}', 1],
    ["postern_imap_upstream_seconds_count", 1],
  ]
  for (const [series, value] of rows) expect([series, seriesValue(text, series)]).toEqual([series, value])
  expect(seriesValue(text, fromClient)).toBe(seriesValue(open, fromClient) + "t7 LOGOUT\r\n".length)
})
