import { expect, test } from "vitest"
import { makeDkimKey, readDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { parseAddress } from "../../src/message/address.ts"
import { keyRecord } from "../../src/mime/dkim-record.ts"
import { signed } from "../../src/pipeline/dkim.ts"
import type { OpenMessage } from "../../src/pipeline/gateway.ts"
import { deliver } from "../../src/pipeline/pipeline.ts"
import type { Signatories } from "../../src/pipeline/ports.ts"
import { collect, type Prepared, preparedOf } from "../../src/pipeline/prepared.ts"
import { jobFor } from "../../src/queue/queue.ts"
import { DKIM_VERIFIERS } from "../harness/dkim-verifiers.ts"
import { policyOf, quietGateway } from "./quiet-gateway.ts"

const SIGNER = readDkimKey(makeDkimKey("ed25519-sha256"))
const AT = new Date("2026-11-26T10:00:00Z")
const asked: string[] = []
/** Signs for three domains. */
const SIGNATORIES: Signatories = {
  of: (domain) => {
    asked.push(domain)
    return ["one.test", "two.test", "xn--bcher-kva.test"].includes(domain)
      ? [{ domain, selector: "s", signer: SIGNER }]
      : []
  },
}

const rows: readonly (readonly [name: string, header: string, domains: string[]])[] = [
  ["the author's domain", "From: a@one.test\r\n", ["one.test"]],
  ["in whatever form it is written", 'from:\r\n "x, y" (b@two.test) <a@ONE.Test>\r\n', ["one.test"]],
  ["each domain of several authors, once", "From: a@one.test, b@two.test, c@one.test\r\n", ["one.test", "two.test"]],
  ["a domain of another script, as A-label", "From: Bücher <b@bücher.test>\r\n", ["xn--bcher-kva.test"]],
  ["nobody for a domain that does not sign", "From: a@three.test\r\n", []],
  ["not a domain below", "From: a@sub.one.test\r\n", []],
  ["nobody for an author that cannot be read", "From: a@one.test <b@two.test\r\n", []],
  ["nobody for no author", "Sender: a@one.test\r\n", []],
]
for (const [name, header, domains] of rows)
  test(`signs for ${name}`, async () => {
    const message = await signed(preparedOf(Buffer.from(`${header}\r\nbody\r\n`)), AT, SIGNATORIES)
    const octets = Buffer.from(await collect(message.content()))
    expect(octets.length).toBe(message.sizeOctets)
    expect(octets.toString().match(/(?<=; d=)[^;]+/g) ?? []).toEqual(domains)
    expect(octets.toString().endsWith(`${header}\r\nbody\r\n`)).toBe(true)
  })

test("memory does not grow with the message: it is read twice, a piece at a time", async () => {
  const piece = Buffer.alloc(65_536, "text with blanks, 64 octets a line, as messages mostly are. \r\n")
  const pieces = 1_600
  const head = Buffer.from("From: a@one.test\r\n\r\n")
  let passes = 0
  const large: Prepared = {
    sizeOctets: head.length + pieces * piece.length,
    async *content() {
      passes++
      yield head
      for (let count = 0; count < pieces; count++) yield piece
    },
  }
  const before = process.memoryUsage.rss()
  const message = await signed(large, AT, SIGNATORIES)
  let octets = 0
  for await (const part of message.content()) octets += part.length
  expect([octets, passes]).toEqual([message.sizeOctets, 3])
  // 105 MB of message.
  expect(process.memoryUsage.rss() - before).toBeLessThan(40_000_000)
})

test("a header section as large as is accepted is signed", async () => {
  const filling = `X-Filling: ${"x".repeat(900)}\r\n`.repeat(1_140)
  const message = await signed(
    preparedOf(Buffer.from(`Received: by us\r\n${filling}From: a@one.test\r\n\r\nx\r\n`)),
    AT,
    SIGNATORIES,
  )
  const zone = { "s._domainkey.one.test TXT": [[keyRecord(SIGNER)]] }
  const [mailauth] = DKIM_VERIFIERS
  expect(await mailauth?.verify([await collect(message.content())], zone)).toEqual([["pass"]])
})

test("what came from elsewhere is never signed by us, whoever it names as its author", async () => {
  for (const [kind, want] of [
    ["mx", false],
    ["submission", true],
  ] as const) {
    const sent = await relayedFrom(kind)
    expect(sent.startsWith("DKIM-Signature: ")).toBe(want)
    expect(sent.endsWith("Received: by us\r\nFrom: a@one.test\r\n\r\nbody\r\n")).toBe(true)
  }
})

/** What the relay is given of a message that came in that way. */
async function relayedFrom(kind: "mx" | "submission"): Promise<string> {
  const octets = Buffer.from("From: a@one.test\r\n\r\nbody\r\n")
  const to = parseAddress("b@else.test")
  const open: OpenMessage = {
    entry: {
      envelope: {
        sender: parseAddress("a@one.test"),
        recipients: [{ address: to, notify: null, originalRecipient: null }],
        smtpUtf8: false,
        envelopeId: null,
        returnContent: null,
      },
      origin: { kind, account: null, device: null, remote: "192.0.2.1", helo: "x", tls: false },
      received: "Received: by us\r\n",
      receivedAt: AT,
      seed: new Uint8Array(32),
      sizeOctets: octets.length,
    },
    async *content() {
      yield octets
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
  let sent = ""
  await deliver(
    jobFor("0123456789", "b@else.test", AT),
    quietGateway(open, {
      policy: { base: { ...policyOf("").base, encrypt: "off" }, rules: [] },
      relay: {
        async send(message) {
          sent = Buffer.from(await collect(message.content())).toString()
          return {
            kind: "done",
            status: { recipient: "b@else.test", action: "relayed", status: "2.0.0", diagnostic: "250" },
          }
        },
      },
      signatories: SIGNATORIES,
    }),
    new AbortController().signal,
  )
  return sent
}
