import { describe, expect, test } from "vitest"
import { parseAddress } from "../../src/message/address.ts"
import { parseFields } from "../../src/mime/header.ts"
import {
  type AutocryptPeer,
  autocryptWish,
  MAX_AUTOCRYPT_FIELDS,
  MAX_AUTOCRYPT_OCTETS,
  readAutocrypt,
  updatedPeer,
} from "../../src/profiles/autocrypt.ts"
import { autocryptSource } from "../../src/profiles/sources/autocrypt.ts"

const ALICE = parseAddress("Alice@else.test")
const KEY = Buffer.from("a certificate")
const KEYDATA = KEY.toString("base64")
const FIELD = `Autocrypt: addr=alice@else.test; prefer-encrypt=mutual; keydata=${KEYDATA}`
const DAY_MS = 86_400_000
const AT = new Date("2026-01-02T03:04:05Z")
const later = (days: number) => new Date(AT.getTime() + days * DAY_MS)

describe("Autocrypt fields", () => {
  const mutual = { isMutual: true, certificate: new Uint8Array(KEY) }
  const rows: [name: string, fields: readonly string[], want: "mutual" | "no preference" | null][] = [
    ["mutual", [FIELD], "mutual"],
    [
      "folded",
      [FIELD.replace("keydata=", "keydata=\r\n ").replace(KEYDATA, `${KEYDATA.slice(0, 8)}\r\n ${KEYDATA.slice(8)}`)],
      "mutual",
    ],
    ["the name in other letters", [FIELD.replace("Autocrypt", "AUTOCRYPT")], "mutual"],
    ["the address in other letters", [FIELD.replace("alice", "ALICE")], "mutual"],
    ["without a preference", [FIELD.replace("prefer-encrypt=mutual; ", "")], "no preference"],
    ["a preference that is not known", [FIELD.replace("mutual", "always")], "no preference"],
    ["an attribute that may be passed over", [FIELD.replace("addr", "_color=red; addr")], "mutual"],
    ["an attribute that may not", [FIELD.replace("addr", "color=red; addr")], null],
    ["an attribute twice", [FIELD.replace("prefer", "addr=alice@else.test; prefer")], null],
    ["another address than the author's", [FIELD.replace("alice@", "mallory@")], null],
    ["no address", [FIELD.replace("addr=alice@else.test; ", "")], null],
    ["an address that is none", [FIELD.replace("alice@else.test", "alice")], null],
    ["no key", [FIELD.replace(KEYDATA, "")], null],
    ["a key that is no base64", [FIELD.replace(KEYDATA, "<key>")], null],
    ["twice", [FIELD, FIELD], null],
    ["one for the author, one for somebody else", [FIELD.replace("alice@", "mallory@"), FIELD], "mutual"],
    ["as many fields as are read", [...Array(MAX_AUTOCRYPT_FIELDS - 1).fill("Autocrypt: x"), FIELD], "mutual"],
    ["more fields than are read", [...Array(MAX_AUTOCRYPT_FIELDS).fill("Autocrypt: x"), FIELD], null],
    ["a name of an attribute that objects have", [FIELD.replace("addr", "__proto__=x; addr")], "mutual"],
    [
      "a key that is too long",
      [FIELD.replace(KEYDATA, Buffer.alloc(MAX_AUTOCRYPT_OCTETS + 1).toString("base64"))],
      null,
    ],
    ["none", ["Subject: x"], null],
  ]
  for (const [name, fields, want] of rows)
    test(name, () => {
      const read = readAutocrypt(parseFields(Buffer.from(`${fields.join("\r\n")}\r\n`)), ALICE)
      expect(read).toEqual(want === null ? null : { ...mutual, isMutual: want === "mutual" })
    })
})

describe("what mail changes of what is remembered", () => {
  const known: AutocryptPeer = { isMutual: true, certificate: Uint8Array.of(1), saidAt: AT, seenAt: later(2) }
  const news = { isMutual: false, certificate: Uint8Array.of(2) }
  const rows: [
    name: string,
    known: AutocryptPeer | null,
    header: typeof news | null,
    at: Date,
    want: AutocryptPeer | null,
  ][] = [
    ["the first field", null, news, AT, { ...news, saidAt: AT, seenAt: AT }],
    ["no field of somebody who never sent one", null, null, AT, null],
    ["a newer field", known, news, later(3), { ...news, saidAt: later(3), seenAt: later(3) }],
    [
      "a newer field than the last, in older mail than was seen",
      known,
      news,
      later(1),
      { ...news, saidAt: later(1), seenAt: later(2) },
    ],
    ["an older field", known, news, later(-1), null],
    ["newer mail without a field", known, null, later(4), { ...known, seenAt: later(4) }],
    ["mail without a field, of the same day", known, null, later(2.5), null],
    ["older mail without a field", known, null, later(1), null],
  ]
  for (const [name, before, header, at, want] of rows)
    test(name, () => expect(updatedPeer(before, header, at)).toEqual(want))
})

describe("what an Autocrypt peer is given", () => {
  const rows: [name: string, isMutual: boolean, silentDays: number, want: "prefer" | "clear"][] = [
    ["encryption, where it is mutual", true, 0, "prefer"],
    ["clear text, where it is not asked for", false, 0, "clear"],
    ["encryption for 35 days of other mail", true, 35, "prefer"],
    ["clear text, when newer mail has no field any more", true, 36, "clear"],
  ]
  for (const [name, isMutual, silentDays, want] of rows)
    test(name, async () => {
      const peer = { isMutual, certificate: new Uint8Array(KEY), saidAt: AT, seenAt: later(silentDays) }
      expect(autocryptWish(peer)).toBe(want)
      const source = autocryptSource({ peer: (address) => (address === "alice@else.test" ? peer : null) })
      const answer = await source.lookup(ALICE, AbortSignal.timeout(1000))
      expect(answer?.candidates).toMatchObject([
        { format: "openpgp", trust: "harvested", wish: want, place: "mail of 2026-01-02" },
      ])
      expect((await source.lookup(parseAddress("bob@else.test"), AbortSignal.timeout(1000)))?.candidates).toEqual([])
    })
})
