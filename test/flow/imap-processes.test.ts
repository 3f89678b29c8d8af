import { once } from "node:events"
import { createServer } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { peer, run } from "../harness/peers.ts"
import { ImapSession } from "../harness/reading.ts"
import { WireClient } from "../harness/wire.ts"

let gateway: Instance
let laptop: DeviceSettings
let phone: DeviceSettings

beforeAll(async () => {
  gateway = await Instance.create()
  gateway.configure("[limits]", "[limits]\nimapProcesses = 2\nimapConnections = 8\nimapConnectionsPerDevice = 5")
  await gateway.must("account", "add", "alice@example.test")
  laptop = await gateway.device("alice@example.test", "laptop")
  phone = await gateway.device("alice@example.test", "phone")
  for (const name of ["tablet", "watch"]) await gateway.device("alice@example.test", name)
  await gateway.serve()
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

interface Process {
  readonly pid: number
  readonly connections: number
}

const admin = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${gateway.port + 6}${path}`)

/** The processes that serve IMAP. */
async function processes(): Promise<Process[]> {
  const status = (await (await admin("/status")).json()) as { readonly imap: Process[] }
  return status.imap
}

/** Until each process has so many connections: those of earlier tests leave in their own time. */
function spread(...counts: readonly number[]): Promise<Process[]> {
  return eventually(`connections ${counts}`, async () => {
    const found = await processes()
    return found.map(({ connections }) => connections).join() === counts.join() ? found : null
  })
}

/** Until there are so many connections, wherever. */
function spreadOver(count: number): Promise<number[]> {
  return eventually(`${count} connections`, async () => {
    const counts = (await processes()).map(({ connections }) => connections)
    return sum(counts) === count ? counts : null
  })
}

/** Opens sessions until one is with the process of this index: the system gives each its share by chance. */
async function openAt(index: number, open: () => Promise<ImapSession>): Promise<ImapSession> {
  for (;;) {
    const before = (await processes()).map(({ connections }) => connections)
    const session = await open()
    const counts = await spreadOver(sum(before) + 1)
    if (counts[index] !== before[index]) return session
    session[Symbol.dispose]()
    await spread(...before)
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, one) => all + one, 0)
}

/** One series of /metrics. */
async function metric(series: string): Promise<number> {
  const text = await (await admin("/metrics")).text()
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `))
  return Number(line?.slice(series.length + 1) ?? 0)
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    // ESRCH: no such process.
    return false
  }
}

/** Selects INBOX and idles. */
async function idling(device: DeviceSettings): Promise<ImapSession> {
  const session = await ImapSession.open(device)
  await session.must("SELECT INBOX")
  await session.wire.write("i IDLE\r\n")
  await session.wire.until(/^\+ /m)
  return session
}

const APPEND = "APPEND INBOX {16+}\r\nSubject: x\r\n\r\ny\r\n"

test("connections are spread, one mailbox is seen alike by all, and the figures are those of all", async () => {
  const listed = JSON.parse(await gateway.must("status", "--json")).processes
  expect(listed.map(({ roles }: { roles: string[] }) => roles.join())).toEqual(
    expect.arrayContaining(["mx,submission,worker,http", "imap", "imap"]),
  )
  using first = await openAt(0, () => idling(laptop))
  using second = await openAt(1, () => ImapSession.open(phone))

  expect(await second.must(APPEND)).toMatch(/APPENDUID \d+ 1\b/)
  await first.wire.until(/^\* 1 EXISTS\r\n/m)
  await first.wire.write("DONE\r\n")
  await first.wire.until(/^i OK.*\r\n/m)
  // Both at once, into one folder: no number is given twice, and both see all.
  const appended = await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      const session = number % 2 === 0 ? first : second
      await session.wire.write(`a${number} ${APPEND}\r\n`)
    }),
  )
  const uids = new Set<string>()
  for (const session of [first, second])
    for (let count = 0; count < appended.length / 2; count += 1)
      uids.add(/APPENDUID \d+ (\d+)/.exec(await session.wire.until(/^a\d+ OK .*\r\n/m))?.[1] ?? "none")
  expect(uids.size).toBe(20)
  expect(await first.uids()).toEqual(await second.uids())
  await second.must("SELECT INBOX")
  await second.must("UID STORE 1 +FLAGS (\\Flagged)")
  await first.must("NOOP")
  expect(await first.must("UID FETCH 1 FLAGS")).toContain("\\Flagged")

  expect(await metric('postern_imap_appended_total{outcome="encrypt"}')).toBe(21)
  for (const name of ["imap 1", "imap 2"]) expect(await metric(`postern_imap_connections{process="${name}"}`)).toBe(1)
})

test("limits hold for all processes together, and a revocation reaches all of them", async () => {
  await using sessions = new AsyncDisposableStack()
  const open: ImapSession[] = []
  for (let count = 0; count < 5; count += 1) open.push(sessions.use(await idling(phone)))
  await expect(ImapSession.open(phone)).rejects.toThrow(/NO \[LIMIT\] too many connections of this device/)
  using other = await ImapSession.open(laptop)
  await gateway.must("device", "revoke", "alice@example.test", "phone")
  await Promise.all(open.map((session) => session.wire.closed(500)))
  expect(await other.must("NOOP")).toMatch(/OK/)
  await expect(ImapSession.open(phone)).rejects.toThrow(/AUTHENTICATIONFAILED/)
})

test("one more than all processes together have places for is cut off, and one that leaves makes room", async () => {
  await spread(0, 0)
  await using sessions = new AsyncDisposableStack()
  const connect = async () => sessions.use(await WireClient.connect(laptop.imap.port, { tls: true }))
  for (let count = 0; count < 8; count += 1) await connect()
  await spreadOver(8)
  // It may be through with TLS before it is cut off, or not.
  await connect().then(
    (last) => last.closed(),
    () => undefined,
  )
  expect(await metric('postern_imap_refused_total{limit="connections"}')).toBe(1)
  await sessions.disposeAsync()
  await spread(0, 0)
  using _another = await ImapSession.open(laptop)
})

test.skipIf(!peer("openssl"))("a TLS session is resumed whichever process takes the connection", async () => {
  const file = join(gateway.folder, "session")
  const connect = async (...options: readonly string[]): Promise<string> => {
    const where = ["s_client", "-connect", `127.0.0.1:${laptop.imap.port}`, "-ign_eof"]
    const { stdout } = await run("openssl", [...where, ...options], { input: "a LOGOUT\r\n" })
    return /^(New|Reused), /m.exec(Buffer.from(stdout).toString("latin1"))?.[1] ?? "none"
  }
  await spread(0, 0)
  const outcomes = [await connect("-sess_out", file)]
  // All of them with the process of the first: once in 65,536 runs.
  for (let count = 0; count < 16; count += 1) outcomes.push(await connect("-sess_in", file))
  expect(outcomes).toEqual(["New", ...Array(16).fill("Reused")])
  expect(await metric('postern_imap_handshakes_total{outcome="resumed"}')).toBe(16)
})

test("a process that hangs is named by a revocation; one that dies holds up none, takes its own connections only, and is replaced", async () => {
  await spread(0, 0)
  using first = await openAt(0, () => ImapSession.open(laptop))
  using second = await openAt(1, () => ImapSession.open(laptop))
  const [ill, well] = await spread(1, 1)
  const before = await metric('postern_imap_logins_total{outcome="ok"}')
  process.kill(ill?.pid ?? 0, "SIGSTOP")
  const { code, stderr } = await gateway.postern("device", "revoke", "alice@example.test", "tablet")
  expect([code, stderr]).toEqual([1, expect.stringContaining(`process ${ill?.pid}`)])

  process.kill(ill?.pid ?? 0, "SIGKILL")
  await first.wire.closed()
  await gateway.must("device", "revoke", "alice@example.test", "watch")
  expect(await second.must("NOOP")).toMatch(/OK/)
  const [another, same] = await eventually("another runs", async () => {
    const running = await processes()
    return (await admin("/readyz")).status === 200 && running[0]?.pid !== ill?.pid ? running : null
  })
  expect([another?.connections, same]).toEqual([0, well])
  expect(await metric("postern_imap_worker_ends_total")).toBe(1)
  // What the dead one had told is not lost.
  expect(await metric('postern_imap_logins_total{outcome="ok"}')).toBe(before)
  using _third = await openAt(0, () => ImapSession.open(laptop))
  await gateway.logged(/"event":"imap.process.ended".*"signal":"SIGKILL"/)
})

test("SIGTERM, even to the whole group: who idles is told goodbye, and all processes end with 0", async () => {
  await spread(0, 0)
  using first = await openAt(0, () => idling(laptop))
  using second = await openAt(1, () => idling(laptop))
  const pids = (await processes()).map(({ pid }) => pid)
  for (const pid of pids) process.kill(pid, "SIGTERM")
  const code = gateway.stop()
  for (const session of [first, second]) await session.wire.until(/^\* BYE shutting down\r\n/m)
  expect(await code).toBe(0)
  expect(pids.filter(isAlive)).toEqual([])
  await gateway.serve()
})

test("nothing is left behind when the first process is killed, and the next start finds its ports free", async () => {
  using session = await ImapSession.open(laptop)
  const pids = (await processes()).map(({ pid }) => pid)
  await gateway.stop("SIGKILL")
  await session.wire.closed()
  await eventually("all have ended", () => !pids.some(isAlive))
  await gateway.serve()
  using _again = await ImapSession.open(laptop)
})

test("a port that somebody else has is told, and nothing keeps running", async () => {
  await gateway.stop()
  const other = createServer().listen({ host: "127.0.0.1", port: laptop.imap.port, reusePort: true })
  await once(other, "listening")
  const { code, stderr } = await gateway.postern("serve")
  expect([code, stderr]).toEqual([1, expect.stringContaining(`cannot listen on 127.0.0.1:${laptop.imap.port}`)])
  await new Promise((resolve) => other.close(resolve))
  await gateway.serve()
})
