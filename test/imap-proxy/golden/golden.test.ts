import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { AppendProtection, Upstream } from "../../../src/imap-proxy/ports.ts"
import { type Dovecot, dovecotPossible } from "../../harness/dovecot.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { upstreamAt } from "../../harness/upstream.ts"
import { patched } from "../messages.ts"
import { ACCOUNT, LAPTOP, startRig, storedUpload } from "../rig.ts"
import { parseTranscript, type Response, replay, type Step } from "./replay.ts"
import { fillInbox, GOLDEN_MESSAGES, goldenDovecot } from "./store.ts"

const transcripts = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".txt"))

/** Uploads are another matter (append.test.ts): here they are stored as they come, so that both stores hold the same. */
const AS_IS: AppendProtection = {
  plan: async (_account, { sizeOctets, content }) => storedUpload("asIs", sizeOctets, content),
}

/** In order of the octets they stand for, as stored and as the laptop sees them. */
const FORMS = GOLDEN_MESSAGES.map((message) => ({ stored: message, patched: patched(message, "laptop") }))

describe.skipIf(!dovecotPossible)("what clients send, to Dovecot and through the proxy", () => {
  let folder: TemporaryFolder
  let dovecot: Dovecot

  beforeAll(async () => {
    folder = await temporaryFolder()
    dovecot = await goldenDovecot(folder)
  })

  afterAll(async () => {
    await dovecot[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  test.each(transcripts)("%s: identical answers but for the patched spans", async (name) => {
    const steps = parseTranscript(readFileSync(`${import.meta.dirname}/${name}`, "latin1"))
    const direct = await fromDovecot(name, steps)
    const proxied = await throughProxy(name, steps, upstreamAt(plainAt(dovecot.imapPort)))
    expectSame(steps, direct, proxied)
  })

  test("octet by octet from the client, three by three from the server", async () => {
    const steps = parseTranscript(readFileSync(`${import.meta.dirname}/imaplib.txt`, "utf8"))
    const direct = await fromDovecot("whole", steps)
    await using relay = await dripping(dovecot.imapPort, 3)
    expectSame(steps, direct, await throughProxy("dripping", steps, upstreamAt(plainAt(relay.port)), 1))
  })

  async function fromDovecot(name: string, steps: readonly Step[]): Promise<Response[][]> {
    const user = `${name}@direct.test`
    await fillInbox(dovecot, user)
    return replay(steps, { port: dovecot.imapPort, tls: false, user, password: "x" })
  }

  async function throughProxy(
    name: string,
    steps: readonly Step[],
    upstream: Upstream,
    segmentOctets?: number,
  ): Promise<Response[][]> {
    const user = `${name}@proxied.test`
    await fillInbox(dovecot, user)
    await using rig = await startRig({
      upstream: { connect: (_account, client, signal) => upstream.connect(user, client, signal) },
      tlsMode: "implicit",
      protection: AS_IS,
    })
    const peer = { port: rig.port, tls: true, user: ACCOUNT, password: LAPTOP }
    return await replay(steps, segmentOctets === undefined ? peer : { ...peer, segmentOctets })
  }
})

/** Both texts the same after what differs by nature is taken out; literals the same, or exactly the patched form of the same octets. */
function expectSame(steps: readonly Step[], direct: readonly Response[][], proxied: readonly Response[][]): void {
  const own = answeredByProxy(steps)
  const [before = [], after = []] = [direct, proxied].map((bursts) => bursts.flatMap(inOneOrder))
  expect(after.map((response) => asComparable(response, own))).toEqual(
    before.map((response) => asComparable(response, own)),
  )
  let changed = 0
  for (const [index, { text, literals }] of before.entries())
    for (const [at, stored] of literals.entries()) {
      const served = after[index]?.literals[at] ?? ""
      if (served === stored) continue
      changed += 1
      const right = FORMS.some((form) => isSpan(form, stored, served))
      expect(right, `${text}: literal ${at} of ${stored.length} octets`).toBe(true)
    }
  // Each of them reads an encrypted message.
  expect(changed).toBeGreaterThan(0)
}

/** Of commands sent at once: what is untagged, then what is tagged. What the proxy and Dovecot say each in its own way is left out. */
function inOneOrder(burst: readonly Response[]): Response[] {
  const responses = burst.filter(({ text }) => !OWN_WORDS.test(text))
  const tagged = responses.filter(({ text }) => !text.startsWith("*"))
  return tagged.length === 1 ? responses : [...responses.filter(({ text }) => text.startsWith("*")), ...tagged]
}

/** Capabilities, which Dovecot also adds to a login's answer where the client had asked before; that nothing is enabled. */
const OWN_WORDS = /^\* (?:CAPABILITY .*|ENABLED)$/

/** True when one span of a message is `stored` as it is stored and `served` as it is patched. */
function isSpan(form: (typeof FORMS)[number], stored: string, served: string): boolean {
  for (let at = form.stored.indexOf(stored); at >= 0; at = form.stored.indexOf(stored, at + 1))
    if (form.patched.slice(at, at + stored.length) === served) return true
  return false
}

/** Tags of commands that the proxy answers in its own words: only the status is compared. */
function answeredByProxy(steps: readonly Step[]): ReadonlySet<string> {
  const lines = steps.flatMap((step) => (step.kind === "send" ? [step.line] : []))
  const tags = new Set<string>()
  let loggedIn = false
  for (const step of steps) {
    if (step.kind === "connect") loggedIn = false
    if (step.kind !== "send") continue
    const [tag = "", name = ""] = step.line.toUpperCase().split(" ")
    if (["LOGIN", "AUTHENTICATE"].includes(name)) loggedIn = true
    if (["LOGIN", "AUTHENTICATE", "CAPABILITY"].includes(name) || /ENABLE UTF8=ACCEPT$/i.test(step.line)) tags.add(tag)
    else if (name === "ID" && !loggedIn) tags.add(tag)
  }
  return new Set(lines.map((line) => line.split(" ")[0] ?? "").filter((tag) => tags.has(tag.toUpperCase())))
}

function asComparable({ text }: Response, own: ReadonlySet<string>): string {
  const [tag = "", status = ""] = text.split(" ")
  if (own.has(tag)) return `${tag} ${status}`
  if (text.startsWith("* ID ")) return "* ID"
  return (
    text
      // Each mailbox has its own.
      .replace(/(UIDVALIDITY|APPENDUID|COPYUID) \d+/g, "$1 n")
      // How long Dovecot took.
      .replace(/ \([\d.]+(?: \+ [\d.]+)* secs\)/, "")
  )
}

function plainAt(port: number): { kind: "tcp"; host: string; port: number; security: "plain" } {
  return { kind: "tcp", host: "127.0.0.1", port, security: "plain" }
}

/** A relay that hands on what the server says in segments of so many octets. */
async function dripping(target: number, octets: number): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer((client) => {
    const upstream = connect(target, "127.0.0.1").setNoDelay(true)
    client.setNoDelay(true)
    client.on("data", (data) => upstream.write(data)).on("error", () => undefined)
    client.on("close", () => upstream.destroy())
    void drip(upstream, client, octets).catch(() => undefined)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: async () => void server.close() }
}

async function drip(from: Socket, to: Socket, octets: number): Promise<void> {
  for await (const data of from as AsyncIterable<Buffer>)
    for (let at = 0; at < data.length; at += octets)
      await new Promise<void>((resolve) => to.write(data.subarray(at, at + octets), () => resolve()))
  to.end()
}
