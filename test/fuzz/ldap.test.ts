import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { readCertificateBag } from "../../src/crypto/cms/certificate-bag.ts"
import { GatewayError } from "../../src/errors.ts"
import { type Filter, MAX_FILTER_DEPTH, parseFilter, readFilter, writeFilter } from "../../src/net/ldap-filter.ts"
import {
  ldapString,
  MessageCutter,
  OPERATION,
  piecesOf,
  readMessage,
  readResult,
  resultOperation,
  writeMessage,
} from "../../src/net/ldap-message.ts"
import { readEntryKeys } from "../../src/profiles/directory-entry.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)

/** Octets that look like BER at first. */
const berLike = fc.letrec<{ node: Uint8Array }>((tie) => ({
  node: fc
    .tuple(
      fc.constantFrom(0x30, 0x31, 0x02, 0x04, 0x0a, 0x60, 0x61, 0x63, 0x64, 0x65, 0x77, 0x80, 0x87, 0xa0, 0xa3, 0xa4),
      fc.oneof(
        { maxDepth: 6 },
        fc.uint8Array({ maxLength: 12 }),
        fc.array(tie("node"), { maxLength: 5 }).map((parts) => new Uint8Array(Buffer.concat(parts))),
      ),
      fc.integer({ min: -1, max: 1 }),
    )
    .map(([tag, content, lie]) => Uint8Array.of(tag, Math.min(127, Math.max(0, content.length + lie)), ...content)),
})).node

const attribute = fc.stringMatching(/^[a-z][a-zA-Z0-9;-]{0,12}$/)
const value = fc.uint8Array({ minLength: 1, maxLength: 12 })
const filter = fc.letrec<{ filter: Filter }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 4 },
    fc.record({ kind: fc.constant("equal" as const), attribute, value }),
    fc.record({ kind: fc.constant("present" as const), attribute }),
    fc.record({
      kind: fc.constant("substrings" as const),
      attribute,
      initial: fc.option(value),
      any: fc.array(value, { minLength: 1, maxLength: 3 }),
      final: fc.option(value),
    }),
    fc.record({
      kind: fc.constantFrom("and" as const, "or" as const),
      filters: fc.array(tie("filter"), { maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant("not" as const), filter: tie("filter") }),
  ),
})).filter

function readable<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

describe("LDAP", () => {
  test("a filter is read as it was written", () =>
    fc.assert(
      fc.property(filter, (one) => {
        expect(readFilter(piecesOf(new Uint8Array(writeFilter(one)))[0])).toEqual(one)
      }),
      { numRuns: RUNS },
    ))

  test("whatever stands for a filter is read or refused", () =>
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[()&|!*\\=ab]{0,40}$/)), (text) => {
        const read = readable(() => parseFilter(text))
        if (read) expect(readFilter(piecesOf(new Uint8Array(writeFilter(read)))[0])).toEqual(read)
      }),
      { numRuns: RUNS },
    ))

  test("depth is refused before the stack ends", () => {
    const nested = (depth: number): Uint8Array =>
      depth === 0 ? ldapString("") : Uint8Array.of(0xa2, 0, ...nested(depth - 1))
    const deep = Buffer.alloc(200_000, "(!")
    expect(readable(() => parseFilter(deep.toString()))).toBeNull()
    expect(readable(() => readFilter(piecesOf(nested(MAX_FILTER_DEPTH + 5))[0]))).toBeNull()
  })

  test("whatever arrives is messages or refused, in pieces of any size as in one", () =>
    fc.assert(
      fc.property(fc.array(berLike, { maxLength: 4 }), fc.integer({ min: 1, max: 9 }), (parts, size) => {
        const octets = Buffer.concat(parts)
        const cut = (by: number): readonly Uint8Array[] | null =>
          readable(() => {
            const cutter = new MessageCutter(64)
            const found: Uint8Array[] = []
            for (let at = 0; at < octets.length; at += by) found.push(...cutter.push(octets.subarray(at, at + by)))
            return found
          })
        const whole = cut(octets.length || 1)
        if (whole) expect(cut(size)).toEqual(whole)
        for (const message of whole ?? []) readable(() => readResult(readMessage(message).operation))
      }),
      { numRuns: RUNS },
    ))

  test("a message is read as it was written", () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 31 - 1 }),
        fc.integer({ min: 0, max: 127 }),
        fc.string(),
        (id, code, text) => {
          const octets = writeMessage(
            id,
            resultOperation(OPERATION.searchDone, { code, diagnostic: text.toWellFormed() }),
          )
          const message = readMessage(octets)
          expect([message.id, message.operation.tag]).toEqual([id, OPERATION.searchDone])
          expect(readResult(message.operation)).toEqual({ code, diagnostic: text.toWellFormed() })
        },
      ),
      { numRuns: RUNS },
    ))

  test("whatever an entry holds is read or remarked", () =>
    fc.assert(
      fc.property(
        fc.constantFrom("userCertificate;binary", "USERSMIMECERTIFICATE", "pgpKey", "cn"),
        fc.array(fc.oneof(berLike, fc.uint8Array({ maxLength: 40 })), { maxLength: 40 }),
        (name, values) => {
          readable(() => readCertificateBag(values[0] ?? new Uint8Array()))
          const { keys, remarks } = readEntryKeys({ dn: "cn=x", attributes: [{ name, values }] })
          expect(keys.length).toBeLessThanOrEqual(32)
          if (name === "cn") expect([keys, remarks]).toEqual([[], []])
        },
      ),
      { numRuns: RUNS },
    ))
})
