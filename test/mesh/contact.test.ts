import { describe, expect, test } from "vitest"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { readJson } from "../../src/crypto/jsonb/read.ts"
import { verbatim, writeJson, writeJsonB } from "../../src/crypto/jsonb/write.ts"
import { checkContactMessage, MAX_AGE_MS, MAX_AHEAD_MS, showsPin } from "../../src/mesh/contact/check.ts"
import { checkIntroduction, makeIntroduction, readIntroduction } from "../../src/mesh/contact/introduction.ts"
import { readContactMessage } from "../../src/mesh/contact/message.ts"
import { makeContactPerson, readContactPerson } from "../../src/mesh/contact/person.ts"
import { MAX_TEXT_CHARACTERS, MAX_TEXT_LINES, textFault } from "../../src/mesh/contact/text.ts"
import { ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import { responseIdOf } from "../../src/mesh/message-id.ts"
import { pinId, pinWitness, saltedPin } from "../../src/mesh/pin.ts"
import { signObject } from "../../src/mesh/signed.ts"
import { speakerOf } from "../../src/mesh/speaker.ts"
import {
  carol,
  carolHerself,
  carolsGateway,
  dave,
  davesGateway,
  gatewayOf,
  hers,
  his,
  MESSAGE_ID,
  mallory,
  mallorysGateway,
  NOON,
  request,
} from "./contact-world.ts"
import { connectedDevice } from "./people.ts"
import { publishedEnvelope } from "./published.ts"

const expected = { service: hers.profile, recipient: dave.profile, now: NOON }
const check = (message: Uint8Array, changes: Partial<typeof expected> = {}) =>
  checkContactMessage(message, { ...expected, ...changes })
const untrusted = expect.objectContaining({ code: "MESH_UNTRUSTED" })

describe("contacts", () => {
  test.each([
    ["signed-ContactPerson-13", "bob@example.com", 2022],
    ["signed-ContactPerson-20", "alice@example.com", 2022],
    ["signed-ContactPerson-41", "alice@example.com", 2024],
  ] as const)(
    "%s, published, is read with its profile, and the account's own key has signed it",
    (name, address, generation) => {
      const { profile, object } = readContactPerson(publishedEnvelope(name))
      expect(profile).toMatchObject({ address, generation })
      expect(speakerOf(object.end, profile, null, NOON)).toEqual({ via: "person" })
    },
  )

  test("ours has the profile as its owner signed it, and no names", () => {
    const envelope = makeContactPerson(carol.profile, carolsGateway, NOON)
    const { profile, object } = readContactPerson(envelope)
    expect(profile).toEqual(carol.profile)
    expect(object.members.members.has("CommonNames")).toBe(false)
  })

  test("whose anchor is another's is refused", () => {
    const members = {
      Anchors: [{ Udf: mallory.profile.udf, Validation: "Self" }],
      NetworkAddresses: [{ NetworkProfile: { EnvelopedProfileAccount: verbatim(carol.profile.envelope) } }],
    }
    const envelope = signObject("ContactPerson", members, [carolHerself.signer], { created: NOON })
    expect(() => readContactPerson(envelope)).toThrow(untrusted)
  })
})

describe("a request", () => {
  test.each([
    ["the gateway", carolsGateway, "gateway"],
    ["a device of the person's", gatewayOf(carol, 40, [ROLE_MESSAGE]), "device"],
    ["the account's own key", carolHerself, "person"],
  ] as const)("signed by %s is that profile's", (_, speaker, via) => {
    const verdict = check(request({}, speaker))
    expect(verdict).toMatchObject({ kind: "verified", profile: { udf: carol.profile.udf }, speaker: { via } })
  })

  test("is read as it was written", () => {
    const { statement } = readContactMessage(request({ introduction: introduced() }))
    expect(statement).toMatchObject({
      messageId: MESSAGE_ID,
      reply: true,
      text: "Hello Dave, we met in Bern.",
      proof: null,
    })
    expect(Buffer.from(statement.introduction ?? [])).toEqual(Buffer.from(introduced()))
    expect(readContactPerson(statement.contact).profile.udf).toBe(carol.profile.udf)
  })

  const foreign = gatewayOf(dave, 30)
  const expired = connectedDevice(carol, 50, ["send-mail"], new Date("2026-11-26T11:00:00Z"))
  const rows: readonly [string, Uint8Array, string, Partial<typeof expected>?][] = [
    ["in another's name: the contact inside is Carol's, the signature is not", request({}, mallorysGateway), "forged"],
    [
      "with Carol's connection and another's signature",
      request({}, { ...carolsGateway, signer: foreign.signer }),
      "forged",
    ],
    ["with the connection of another account's device", request({}, foreign), "forged"],
    ["by a device that may do something else", request({}, gatewayOf(carol, 20, ["web"])), "forged"],
    [
      "by a device whose time is over",
      request({}, { signer: carolHerself.signer, connection: expired.connection }),
      "device expired",
    ],
    [
      "with the contact of somebody else, copied from a message of his",
      request({ contact: makeContactPerson(dave.profile, davesGateway, NOON) }),
      "other sender",
    ],
    ["from an address that is not the profile's", request({ sender: "ceo@one.example" }), "other sender"],
    ["through a service that the profile does not name", request(), "other service", { service: his.profile }],
    ["to another's address", request({ recipient: "erin@two.example" }), "wrong recipient"],
    ["to another's profile", request({ recipientUdf: carol.profile.udf }), "wrong recipient"],
    ["to what is no UDF", request({ recipientUdf: "dave" }), "wrong recipient"],
    ["that is too old", request(), "too old", { now: new Date(NOON.getTime() + MAX_AGE_MS + 1) }],
    ["of the future", request(), "from the future", { now: new Date(NOON.getTime() - MAX_AHEAD_MS - 1) }],
    ["without a text", request({ text: "" }), "text: empty"],
    ["with a text of 1,001 characters", request({ text: "a".repeat(1001) }), "text: too long"],
    ["with a link", request({ text: "look at www.example.org" }), "text: link"],
    ["with markup", request({ text: "<b>Hello</b>" }), "text: markup"],
    ["that is too large", new Uint8Array(32_769), "too large"],
    ["that is none", Buffer.from("[]"), "malformed"],
  ]
  test.each(rows)("%s is refused", (_, message, reason, changes) => {
    expect(check(message, changes ?? {})).toEqual({ kind: "refused", reason })
  })

  test("with a text that somebody has changed is forged", () => {
    const text = Buffer.from(request()).toString("latin1")
    const changed = text.replace("we met in Bern", "we met in Rome")
    expect(check(Buffer.from(changed, "latin1"))).toEqual({ kind: "refused", reason: "forged" })
  })
})

describe("an answer", () => {
  const pin = "ADE7-4VMG-Q2MG-IDHU-3XKI-ZPEU-AE"
  const salted = saltedPin(pin, "Contact")
  const nonce = new Uint8Array(16).fill(9)

  function answer(known: string) {
    const contact = makeContactPerson(carol.profile, carolsGateway, NOON)
    const witness = pinWitness(known, dave.profile.address, nonce, readEnvelope(contact).payloadDigest)
    const proof = { pinId: pinId(known, dave.profile.address), nonce, witness }
    return request({ messageId: responseIdOf(MESSAGE_ID), reply: false, pin: null, text: "", proof, contact })
  }

  test("needs no text, and shows the PIN that was asked for to whoever has it salted", () => {
    const verdict = check(answer(salted))
    if (verdict.kind !== "verified") throw new Error(verdict.reason)
    expect(showsPin(verdict.statement, salted, "dave@two.example")).toBe(true)
    expect(showsPin(verdict.statement, saltedPin(pin, "Device"), "dave@two.example")).toBe(false)
    expect(showsPin(verdict.statement, salted, "erin@two.example")).toBe(false)
  })

  test("with the witness over another contact shows nothing", () => {
    const { statement } = readContactMessage(answer(salted))
    const other = { ...statement, contact: makeContactPerson(mallory.profile, mallorysGateway, NOON) }
    expect(showsPin(other, salted, "dave@two.example")).toBe(false)
  })
})

function introduced(changes: { readonly subject?: string; readonly until?: string } = {}, speaker = davesGateway) {
  const { subject = carol.profile.udf, until = "2026-12-26T12:00:00Z" } = changes
  const who = { introducer: dave.profile.udf, subject, recipient: mallory.profile.udf }
  return makeIntroduction(who, speaker, { created: NOON, notOnOrAfter: new Date(until) })
}

describe("an introduction", () => {
  const who = { introducer: dave.profile, subject: carol.profile, recipient: mallory.profile }
  const verify = (envelope: Uint8Array, of = who) => checkIntroduction(readIntroduction(envelope), of, NOON)

  test("by somebody's gateway, of one to one other, is good until it ends", () => {
    expect(() => verify(introduced())).not.toThrow()
    expect(() => verify(introduced({ until: "2026-11-26T12:00:00Z" }))).toThrow(
      expect.objectContaining({ code: "MESH_EXPIRED" }),
    )
  })

  test("is of nobody else, by nobody else, and to nobody else", () => {
    expect(() => verify(introduced(), { ...who, subject: mallory.profile })).toThrow(untrusted)
    expect(() => verify(introduced(), { ...who, introducer: carol.profile })).toThrow(untrusted)
    expect(() => verify(introduced(), { ...who, recipient: dave.profile })).toThrow(untrusted)
    expect(() => verify(introduced({}, carolsGateway))).toThrow(untrusted)
  })
})

describe("a stranger's text", () => {
  const rows: readonly (readonly [string, string, ReturnType<typeof textFault>])[] = [
    ["plain", "Hello, we met in Bern. Shall we talk at 10:30? It costs 3.50, e.g. for coffee :)", null],
    ["in several lines", "Hello\n\nfriend", null],
    ["of another script", "你好。我是王。", null],
    ["with a joiner that Persian needs", "می‌خواهم", null],
    ["with emoji", "Thanks \u{1f468}‍\u{1f469}‍\u{1f467} ❤️", null],
    ["with a price below another", "2 < 3 and 4 > 3, R&D", null],
    ["empty", " \n ", "empty"],
    ["at the limit", "ä".repeat(MAX_TEXT_CHARACTERS), null],
    ["at the limit, outside the first plane", "\u{1f468}".repeat(MAX_TEXT_CHARACTERS), null],
    ["above the limit", "ä".repeat(MAX_TEXT_CHARACTERS + 1), "too long"],
    ["with as many lines as it may have", Array(MAX_TEXT_LINES).fill("a").join("\n"), null],
    [
      "with one line more",
      Array(MAX_TEXT_LINES + 1)
        .fill("a")
        .join("\n"),
      "too many lines",
    ],
    ["with a carriage return", "a\r\nb", "character"],
    ["with an escape", "\u001b[31mred", "character"],
    ["that turns the direction", "abc\u202edcba", "character"],
    ["that isolates a direction", "\u2066abc", "character"],
    ["with a zero-width space", "a\u200bb", "character"],
    ["with a soft hyphen", "a\u00adb", "character"],
    ["with tags of plane 14", "a\u{e0041}", "character"],
    ["of private use", "\ue000", "character"],
    ["with a tower of marks", `a${"\u0301".repeat(6)}`, "character"],
    ["with a scheme", "see https://example.org", "link"],
    ["with any scheme", "signal:abc", "link"],
    ["with a number to call", "tel:+41791234567", "link"],
    ["with an upper-case scheme", "HTTPS://X", "link"],
    ["with a host name", "see example.org", "link"],
    ["with www", "www.x", "link"],
    ["with an address of mail", "write to me@host", "link"],
    ["with an IDN", "see bücher.example", "link"],
    ["with another dot", "see example\uff0eorg", "link"],
    ["with an ideographic dot between Latin letters", "see example\u3002org", "link"],
    ["in wide letters", "ｗｗｗ．ｘ", "link"],
    ["with a joiner in the scheme", "ht\u200dtps://x", "link"],
    ["with a joiner in the host name", "example.\u200dorg", "link"],
    ["with an address of IPv4", "at 192.0.2.7 now", "link"],
    ["with a path of a share", "\\\\host\\share", "link"],
    ["with a tag", "<a href=x>here</a>", "markup"],
    ["with a comment", "<!-- x -->", "markup"],
    ["with a character by number", "&#60;b", "markup"],
    ["with a character by name", "&lt;b", "markup"],
    ["with a link of Markdown", "[here](x)", "markup"],
  ]
  test.each(rows)("%s", (_, text, fault) => {
    expect(textFault(text)).toBe(fault)
  })
})

describe("octets that stand in an object as they are", () => {
  const inner = Buffer.from('[{"a" : 1},"x"]')

  test("are the same behind JSON and JSON-B", () => {
    for (const written of [writeJson({ a: verbatim(inner), b: 1 }), writeJsonB({ a: verbatim(inner), b: 1 })]) {
      const read = readJson(written)
      const value = read.kind === "object" ? read.members.get("a") : undefined
      expect(Buffer.from(written.subarray(value?.start, value?.end)).toString()).toBe(inner.toString())
      expect(read.kind === "object" && read.members.get("b")?.kind).toBe("integer")
    }
  })

  test("that are JSON-B do not go into JSON", () => {
    expect(() => writeJson({ a: verbatim(writeJsonB([new Uint8Array(200).fill(0xff)])) })).toThrow()
  })
})
