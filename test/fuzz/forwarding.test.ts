import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { makeDkimKey, readDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { hmacKey, sha256 } from "../../src/crypto/primitives/hash.ts"
import { hasCode } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import { type Address, addressKey, formatAddress, parseAddress } from "../../src/message/address.ts"
import { readSrs, type SrsMeaning, srsAddress, srsToken } from "../../src/message/srs.ts"
import { arcSet } from "../../src/mime/arc-set.ts"
import { parseFields } from "../../src/mime/header.ts"
import { takeBack } from "../../src/pipeline/came-back.ts"
import { cameBy } from "../../src/pipeline/forward.ts"
import { forwardDoubt } from "../../src/pipeline/forward-doubt.ts"
import { jobFor } from "../../src/queue/queue.ts"
import type { SpoolEntry } from "../../src/store/spool.ts"
import { foreignReport } from "../harness/foreign-report.ts"
import { damaged } from "./damaged.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 500)
const AT = new Date("2026-11-27T10:00:00Z")
const MEANS = { key: hmacKey(new Uint8Array(32).fill(5)), now: AT }
const SIGNER = readDkimKey(makeDkimKey("ed25519-sha256"))

function addressOf(localPart: string, domain: string): Address | null {
  return addressIn(`"${localPart.replace(/["\\]/g, "\\$&")}"@${domain}`)
}

function addressIn(text: string): Address | null {
  try {
    return parseAddress(text)
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return null
    throw error
  }
}

function said(meaning: SrsMeaning | null): string | null {
  if (meaning === null) return null
  if (meaning.kind === "forwarder") return formatAddress(meaning.sender)
  const whose = meaning.kind === "sender" ? formatAddress(meaning.sender) : `token ${meaning.token}`
  return `${whose} for ${meaning.cameFor}`
}

describe("reverse-paths of what is forwarded", () => {
  const word = fc.stringMatching(/^[A-Za-z0-9=+@." \u00fc-]{1,30}$/)
  const local = fc.oneof(
    word,
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }),
    word.map((text) => `SRS0=${text}`),
    word.map((text) => `SRS1=x=first.test==${text}`),
  )
  const domain = fc.constantFrom("else.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a.b.c.else.test")

  const name = fc.option(fc.stringMatching(/^[a-z2-7]{6}$/))

  test("are one address each, which is read as its sender, whatever becomes of its case", () => {
    fc.assert(
      fc.property(local, domain, name, (text, where, cameFor) => {
        const sender = addressOf(text, where)
        const made = sender && srsAddress(sender, "example.test", cameFor, MEANS)
        if (sender === null || made === null) return
        expect(formatAddress(parseAddress(formatAddress(made)))).toBe(formatAddress(made))
        const found = said(readSrs(made, MEANS))
        if (/^SRS0=/.test(made.localPart)) expect(found).toBe(`${formatAddress(sender)} for ${cameFor}`)
        else expect(found).toMatch(/SRS0[-+=]/i)
        // There are letters that are longer in lower case (U+0130), and 64 octets are all there is.
        const lowered = addressIn(addressKey(made))
        if (lowered) expect(said(readSrs(lowered, MEANS))?.toLowerCase()).toBe(found?.toLowerCase())
      }),
      { numRuns },
    )
  })

  test("are known by nothing but what was made: any other letter is nobody's", () => {
    const made = [
      srsAddress(parseAddress("carol@else.test"), "example.test", null, MEANS),
      srsAddress(parseAddress("carol@else.test"), "example.test", "abcdef", MEANS),
      srsAddress(parseAddress("SRS0=ab=cd=first.test=carol@else.test"), "example.test", null, MEANS),
      srsToken("abcdef", "example.test", null, MEANS),
      srsToken("abcdef", "example.test", "ghijkl", MEANS),
    ].filter((address) => address !== null)
    const change = fc.tuple(fc.nat(60), fc.nat(3), fc.string({ maxLength: 3 }))
    fc.assert(
      fc.property(fc.constantFrom(...made), fc.array(change, { minLength: 1, maxLength: 3 }), (address, changes) => {
        const localPart = changes.reduce(
          (text, [at, length, other]) => `${text.slice(0, at)}${other}${text.slice(at + length)}`,
          address.localPart,
        )
        const altered = addressOf(localPart, "example.test")
        if (altered === null || localPart.toLowerCase() === address.localPart.toLowerCase()) return
        expect(said(readSrs(altered, MEANS))).toBeNull()
      }),
      { numRuns },
    )
  })

  test("made up by somebody are nobody's", () => {
    const start = fc.constantFrom("SRS0=", "SRS1=", "srs0=aaaaaaaa=aa=", "SRS0=AAAAAAAA=AA==", "SRS1=aaaaaaaa=x.test==")
    fc.assert(
      fc.property(start, fc.string({ unit: "binary" }), (head, rest) => {
        const address = addressOf(`${head}${rest}`, "example.test")
        if (address !== null) expect(readSrs(address, MEANS)).toBeNull()
      }),
      { numRuns },
    )
  })
})

describe("what comes back of what was forwarded", () => {
  const alias = parseAddress("sales@one.test")
  const back = { kind: "sender", sender: parseAddress("c@author.test"), alias, domain: "one.test", day: AT } as const

  /** What its sender hears of it. */
  async function told(octets: Uint8Array): Promise<readonly string[]> {
    const reports: string[] = []
    const entry = { seed: new Uint8Array(32), envelope: {} } as SpoolEntry
    const message = {
      entry,
      async *content() {
        yield octets
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
    const gateway = {
      reports: {
        submit: async (report: { octets: Uint8Array }) => void reports.push(Buffer.from(report.octets).toString()),
      },
      postmaster: parseAddress("postmaster@one.test"),
      hostname: "mail.one.test",
      now: () => AT,
      log: silentLog(),
    }
    const result = await takeBack(message, jobFor("0123456789", "x@one.test", AT), back, gateway)
    expect(result).toMatchObject({ kind: "done" })
    expect("isDropped" in result).toBe(reports.length === 0)
    return reports
  }

  const whole = (text: string) =>
    text.replace(/^Status: [245](\.\d{1,3}){2}\r$/m, "Status: ?\r").replace(/^ {4}[245](\.\d{1,3}){2} /m, "    ? ")
  const line = fc.constantFrom(
    ...[
      "Action: failed",
      "Action: delayed",
      "Status: 5.1.1",
      "Status: 5.1.1 b@else.test",
      "Status: 4.4.7(x)",
      "Status:",
    ],
    ...[
      "",
      " ",
      "\t(",
      '"',
      "--4711/mx.else.test",
      "--4711/mx.else.test--",
      "Final-Recipient: rfc822; canary@else.test",
    ],
    ...["Content-Type: message/delivery-status", "Content-Transfer-Encoding: base64", "QWN0aW9uOiBmYWlsZWQ="],
  )
  const hostile = fc.oneof(
    damaged(Buffer.from(foreignReport())),
    fc.string({ unit: "binary" }).map((status) => Buffer.from(foreignReport({ status }))),
    fc.array(line).map((lines) => Buffer.from(foreignReport().replace("Action: failed", lines.join("\r\n")))),
    fc.array(line).map((lines) => Buffer.from(lines.join("\n"))),
  )

  test("makes one report or none, of which nothing is theirs but the digits of a status", async () => {
    const [usual = ""] = await told(Buffer.from(foreignReport()))
    expect(usual).not.toMatch(/else\.test|canary/)
    await fc.assert(
      fc.asyncProperty(hostile, async (octets) => {
        const reports = await told(octets)
        expect(reports.map(whole)).toEqual(reports.map(() => whole(usual)))
      }),
      { numRuns },
    )
  })
})

describe("header sections of what is forwarded", () => {
  const value = fc.oneof(
    fc.string({
      unit: fc.constantFrom("i", "=", "1", "2", "9", ";", " ", "cv", "fail", "pass", "\t", "(", ")", "\r\n "),
    }),
    fc.string({ unit: "binary" }).map((text) => text.replace(/[\r\n]/g, " ")),
  )
  const names = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "arc-seal ", "From", "Delivered-To"]
  const header = fc
    .array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 8 })
    .map((fields) => Buffer.from(fields.map(([name, text]) => `${name}: ${text}\r\n`).join("")))

  test("get three fields on top, or a reason; the same each time, and nothing breaks out of them", () => {
    const options = { domain: "us.test", selector: "s", signer: SIGNER, bodyHash: sha256(new Uint8Array(0)), at: AT }
    const results = Buffer.from("Authentication-Results: us.test; none\r\n")
    fc.assert(
      fc.property(header, fc.constantFrom("none", "pass", "fail"), (section, chain) => {
        const made = arcSet(section, { ...options, results, chain })
        expect(arcSet(section, { ...options, results, chain })).toEqual(made)
        if (made.kind === "none") return
        expect(parseFields(Buffer.concat(made.fields)).map(({ name }) => name)).toEqual([
          "arc-seal",
          "arc-message-signature",
          "arc-authentication-results",
        ])
      }),
      { numRuns },
    )
  })

  test("never let an unvouched author of ours pass who can be read, and no reader breaks", () => {
    const origin = { kind: "forward", account: null, device: null, remote: "", helo: "", tls: false } as const
    const alias = parseAddress("sales@one.test")
    fc.assert(
      fc.property(header, header, (above, below) => {
        const ours = Buffer.concat([above, Buffer.from("From: x@sub.one.test\r\n"), below])
        expect(forwardDoubt(ours, { origin }, ["one.test"])).not.toBeNull()
        cameBy(alias, ours)
        expect(cameBy(alias, Buffer.concat([above, Buffer.from("Delivered-To: SALES@one.test\r\n"), below]))).toBe(true)
      }),
      { numRuns },
    )
  })
})
