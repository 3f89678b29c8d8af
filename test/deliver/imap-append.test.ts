import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { expect, test } from "vitest"
import { appendingMailboxes } from "../../src/deliver/imap-append.ts"
import { GatewayError } from "../../src/errors.ts"
import { parseAddress } from "../../src/message/address.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { ImapClient } from "../mailbox/imap-client.ts"
import { ACCOUNT, serveStore } from "../mailbox/served-store.ts"

const RECEIVED_AT = new Date("2026-11-21T23:30:00Z")

/** A stored form as the pipeline makes it; equal ciphertexts have equal markers. */
const stored = (id: string, mac = "AAAAAAAAAAAAAAAAAAAAAA") =>
  preparedOf(
    Buffer.from(
      `Return-Path: <carol@elsewhere.test>\r\nReceived: from id ([127.0.0.1])\r\n\tby example.test\r\n\twith ESMTP\r\n\tid ${id}\r\n\tfor <${ACCOUNT}>;\r\n` +
        `\tSat, 21 Nov 2026 23:30:00 +0000\r\nSubject: a\r\nPostern-Encrypted: by this gateway; v=1; n=4;\r\n mac=${mac}\r\n`,
    ),
    Buffer.from("Content-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n"),
  )

const options = (repeated: boolean, signal = AbortSignal.timeout(20_000)) => ({
  name: "job",
  receivedAt: RECEIVED_AT,
  repeated,
  sender: parseAddress("carol@elsewhere.test"),
  signal,
})

test("appends every octet with the date of acceptance; a repeat finds what an earlier attempt stored, and nothing else", async () => {
  await using folder = await temporaryFolder()
  await using store = await serveStore(folder.path)
  const mailboxes = appendingMailboxes(async () => connect(store.port, "127.0.0.1"))
  const deliver = (id: string, repeated: boolean, mac?: string) =>
    mailboxes.deliver(ACCOUNT, stored(id, mac), options(repeated))
  // Its first attempt did not come that far.
  expect(await deliver("one.1", true)).toMatchObject({ kind: "done", status: { action: "delivered" } })
  expect(await deliver("one.1", true)).toMatchObject({
    kind: "done",
    status: { diagnostic: expect.stringContaining("earlier") },
  })
  // The same octets on another way: somebody sent them twice, and that is their business.
  expect(await deliver("two.1", true)).toMatchObject({ kind: "done" })
  expect(await deliver("two.1", false)).toMatchObject({ kind: "done" })
  expect(await deliver("one.1", true, "BAAAAAAAAAAAAAAAAAAAAA")).toMatchObject({ kind: "done" })
  await using client = await ImapClient.connect(store.port)
  expect(await client.ok("SELECT INBOX")).toContain("* 4 EXISTS")
  const seen = await client.ok("FETCH 1 (INTERNALDATE RFC822.SIZE)")
  expect(new Date(/INTERNALDATE "([^"]+)"/.exec(seen)?.[1] ?? "")).toEqual(RECEIVED_AT)
  expect(seen).toContain(`RFC822.SIZE ${stored("one.1").sizeOctets}`)
})

const OVER_QUOTA = { kind: "retry", status: { status: "4.2.2" } }
const rows: readonly (readonly [name: string, answers: Answers, want: object])[] = [
  ["full", { append: "a NO [OVERQUOTA] full" }, OVER_QUOTA],
  ["full, and says so after the message", { message: "a NO [OVERQUOTA] full" }, OVER_QUOTA],
  ["message too large", { append: "a NO [TOOBIG] no" }, { kind: "failed", status: { status: "5.2.0" } }],
  ["no such mailbox yet", { append: "a NO [TRYCREATE] no" }, { kind: "retry", status: { status: "4.2.0" } }],
  ["not understood", { append: "a BAD what" }, { kind: "retry", status: { status: "4.2.0" } }],
  ["goes away", { append: "* BYE maintenance" }, { kind: "retry", status: { status: "4.3.0", diagnostic: /BYE/ } }],
  ["hangs up within the message", { message: null }, { kind: "retry", status: { status: "4.3.0" } }],
  ["untagged lines on the way", { append: "* 1 EXISTS\r\n+ go", message: "* 2 EXISTS\r\na OK done" }, { kind: "done" }],
  ["endless line", { append: "x".repeat(100_000) }, { kind: "retry", status: { status: "4.3.0" } }],
]

for (const [name, answers, want] of rows)
  test(`a store that is or says: ${name}`, async () => {
    await using server = await scripted(answers)
    const mailboxes = appendingMailboxes(async () => connect(server.port, "127.0.0.1"))
    expect(await mailboxes.deliver(ACCOUNT, stored("x"), options(false))).toMatchObject(patterns(want))
  })

test("a store that cannot be reached or refuses the login is tried again", async () => {
  for (const code of ["UPSTREAM_UNAVAILABLE", "UPSTREAM_REFUSED"] as const) {
    const mailboxes = appendingMailboxes(() => Promise.reject(new GatewayError(code, "imap upstream: away")))
    expect(await mailboxes.deliver(ACCOUNT, stored("x"), options(false))).toMatchObject({
      kind: "retry",
      status: { status: "4.3.0", diagnostic: expect.stringContaining("away") },
    })
  }
})

test("a message that is not as long as it says is no message: the store gets no end of it", async () => {
  await using folder = await temporaryFolder()
  await using store = await serveStore(folder.path)
  const mailboxes = appendingMailboxes(async () => connect(store.port, "127.0.0.1"))
  for (const by of [-1, 1]) {
    const message = { ...stored("x"), sizeOctets: stored("x").sizeOctets + by }
    await expect(mailboxes.deliver(ACCOUNT, message, options(false))).rejects.toMatchObject({ code: "LENGTH_MISMATCH" })
  }
  await using client = await ImapClient.connect(store.port)
  expect(await client.ok("SELECT INBOX")).toContain("* 0 EXISTS")
})

test("ends when the worker ends, though the store is silent", async () => {
  await using server = await scripted({ append: "" })
  const ending = new AbortController()
  const mailboxes = appendingMailboxes(async () => connect(server.port, "127.0.0.1"))
  const delivery = mailboxes.deliver(ACCOUNT, stored("x"), options(false, ending.signal))
  await server.asked
  ending.abort(new Error("over"))
  await expect(delivery).rejects.toThrow("over")
})

/** What the server says to APPEND, and to its message; null: it hangs up. */
interface Answers {
  readonly append?: string
  readonly message?: string | null
}

/** A server that knows one command. */
async function scripted({ append = "+ go", message = "a OK done" }: Answers) {
  const asked = Promise.withResolvers<void>()
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => undefined)
    socket.write("* PREAUTH ready\r\n")
    socket.once("data", () => {
      asked.resolve()
      socket.once("data", () => (message === null ? socket.destroy() : socket.write(`${message}\r\n`)))
      if (append !== "") socket.write(`${append}\r\n`)
    })
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port,
    asked: asked.promise,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Regular expressions within `want` as vitest wants them. */
function patterns(want: object): object {
  return Object.fromEntries(
    Object.entries(want).map(([key, value]) => [
      key,
      value instanceof RegExp
        ? expect.stringMatching(value)
        : typeof value === "object" && value !== null
          ? patterns(value)
          : value,
    ]),
  )
}
