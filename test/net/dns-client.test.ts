import { createSocket } from "node:dgram"
import { once } from "node:events"
import { createServer } from "node:net"
import { decode, encode } from "dns-packet"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { dnsClient, validates } from "../../src/net/dns-client.ts"
import type { Resolver } from "../../src/smtp-out/hop.ts"
import { validatingResolver } from "../../src/smtp-out/validating-resolver.ts"
import { peer } from "../harness/peers.ts"
import { startValidatingDns, VALIDATING_DNS, type ValidatingDns } from "../harness/validating-dns.ts"

const TLSA = "0".repeat(64)

describe.skipIf(!VALIDATING_DNS.every(peer))("Unbound, validating", () => {
  let dns: ValidatingDns
  let resolver: Resolver

  beforeAll(async () => {
    const records = [
      "@ MX 20 mx2",
      "@ MX 10 mx1",
      '@ TXT "v=one; " "two"',
      "mx1 A 127.0.0.1",
      "mx1 AAAA ::1",
      "mx2 A 127.0.0.2",
      "alias CNAME mx1",
      "away CNAME mx.unsigned.example.",
      `_25._tcp.mx1 TLSA 3 1 1 ${TLSA}`,
      `_25._tcp.mx1 TLSA 2 0 2 ${TLSA}${TLSA}`,
      ...Array.from({ length: 60 }, (_, index) => `large TXT "${"x".repeat(200)}${index}"`),
    ]
    dns = await startValidatingDns([
      { name: "signed.example", state: "signed", records },
      { name: "expired.example", state: "expired", records },
      { name: "unsigned.example", state: "unsigned", records: [...records, "mx A 127.0.0.3"] },
    ])
    resolver = validatingResolver(dnsClient([dns.address]))
  })
  afterAll(async () => dns?.[Symbol.asyncDispose]())

  test("MX, secure or not", async () => {
    const records = expect.arrayContaining([
      { exchange: "mx1.signed.example", preference: 10 },
      { exchange: "mx2.signed.example", preference: 20 },
    ])
    expect(await resolver.mx("signed.example")).toMatchObject({ records, secure: true })
    expect(await resolver.mx("unsigned.example")).toMatchObject({ secure: false })
  })

  test("addresses, and the name that has them", async () => {
    const addresses = ["::1", "127.0.0.1"]
    const rows = [
      ["mx1.signed.example", { records: addresses, secure: true, canonical: "mx1.signed.example" }],
      ["alias.signed.example", { records: addresses, secure: true, canonical: "mx1.signed.example" }],
      ["away.signed.example", { records: ["127.0.0.3"], secure: false, canonical: "mx.unsigned.example" }],
      ["mx1.unsigned.example", { records: addresses, secure: false, canonical: "mx1.unsigned.example" }],
      ["nobody.signed.example", { records: [], secure: true, canonical: "nobody.signed.example" }],
    ] as const
    for (const [name, want] of rows) expect(await resolver.addresses(name)).toEqual(want)
    expect(await resolver.isSecureAlias("away.signed.example")).toBe(true)
    expect(await resolver.isSecureAlias("mx1.signed.example")).toBe(false)
    expect(await resolver.isSecureAlias("alias.unsigned.example")).toBe(false)
  })

  test("TLSA, octet by octet; that there is none is secure, too", async () => {
    const { records, secure } = await resolver.tlsa("_25._tcp.mx1.signed.example")
    expect(secure).toBe(true)
    expect(records).toHaveLength(2)
    expect(records).toContainEqual({ usage: 3, selector: 1, matchingType: 1, association: Buffer.alloc(32) })
    expect(records).toContainEqual({ usage: 2, selector: 0, matchingType: 2, association: Buffer.alloc(64) })
    expect(await resolver.tlsa("_25._tcp.mx2.signed.example")).toMatchObject({ records: [], secure: true })
    expect(await resolver.tlsa("_25._tcp.mx1.unsigned.example")).toMatchObject({ secure: false })
  })

  test("TXT strings are joined; what does not fit into a datagram comes over TCP", async () => {
    expect(await resolver.text("signed.example")).toEqual(["v=one; two"])
    expect(await resolver.text("large.signed.example")).toHaveLength(60)
  })

  test("bogus is no answer", async () => {
    await expect(resolver.mx("expired.example")).rejects.toThrow("SERVFAIL")
    await expect(resolver.addresses("mx1.expired.example")).rejects.toThrow("SERVFAIL")
    await expect(resolver.tlsa("_25._tcp.mx1.expired.example")).rejects.toThrow("SERVFAIL")
  })
})

describe("servers that misbehave", () => {
  /** A server that answers each query with these, made from the right one. */
  async function server(answers: (right: Buffer) => readonly Buffer[]) {
    const socket = createSocket("udp4")
    socket.on("message", (query, from) => {
      const { id = 0, questions = [] } = decode(query)
      const answer = { type: "A", name: "a.example", data: "192.0.2.1" } as const
      const right = encode({ type: "response", id, flags: 32, questions, answers: [answer] })
      for (const octets of answers(right)) socket.send(octets, from.port, from.address)
    })
    socket.bind(0, "127.0.0.1")
    await once(socket, "listening")
    const { port } = socket.address()
    return { address: `127.0.0.1:${port}`, port, [Symbol.dispose]: () => socket.close() }
  }

  function changed(octets: Buffer, at: number, value: number): Buffer {
    const copy = Buffer.from(octets)
    copy[at] = value
    return copy
  }

  test("guesses, queries, other questions and rubbish are passed over", async () => {
    using guessed = await server((right) => [
      changed(right, 1, (right[1] ?? 0) ^ 1),
      changed(right, 2, 0),
      changed(right, 13, 98),
      Buffer.from("x"),
      right,
    ])
    const { answers, authentic } = await dnsClient([guessed.address])("a.example", "A")
    expect(answers).toMatchObject([{ data: "192.0.2.1" }])
    expect(authentic).toBe(true)
  })

  test("silence: the next server, then an error", async () => {
    using silent = await server(() => [])
    using talking = await server((right) => [right])
    const ask = dnsClient([silent.address, talking.address], 100)
    expect((await ask("a.example", "A")).answers).toHaveLength(1)
    await expect(dnsClient([silent.address], 100)("a.example", "A")).rejects.toThrow("does not answer")
    await expect(dnsClient([])("a.example", "A")).rejects.toThrow("no server")
  })

  test("an error code is no answer", async () => {
    for (const rcode of [1, 2, 5]) {
      using failing = await server((right) => [changed(right, 3, rcode)])
      await expect(dnsClient([failing.address])("a.example", "A")).rejects.toThrow(/SERVFAIL|REFUSED|FORMERR/)
    }
  })

  test("truncated over UDP and dead over TCP is no answer", async () => {
    using truncated = await server((right) => [changed(right, 2, (right[2] ?? 0) | 2)])
    const dead = createServer((socket) => socket.destroy()).listen(truncated.port, "127.0.0.1")
    await once(dead, "listening")
    await expect(dnsClient([truncated.address])("a.example", "A")).rejects.toThrow("closed")
    dead.close()
  })

  test("who validates shows it with the root", async () => {
    const soa = { mname: "a.root", rname: "b.root", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 1 }
    for (const authentic of [true, false]) {
      using answering = await server((right) => {
        const { id = 0, questions = [] } = decode(right)
        expect(questions).toMatchObject([{ name: ".", type: "SOA" }])
        const answers = [{ type: "SOA" as const, name: ".", data: soa }]
        return [encode({ type: "response", id, flags: authentic ? 32 : 0, questions, answers })]
      })
      expect(await validates(dnsClient([answering.address]))).toBe(authentic)
    }
  })

  test("what cannot be a name is not asked for", async () => {
    const ask = dnsClient([])
    for (const name of [
      "a..example",
      "a\0.example",
      `${"a".repeat(64)}.example`,
      "a b.example",
      `${"a.".repeat(127)}example`,
    ])
      expect(await ask(name, "A")).toEqual({ authentic: false, answers: [] })
  })
})
