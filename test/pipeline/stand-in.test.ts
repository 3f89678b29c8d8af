import { describe, expect, test } from "vitest"
import { deriveEnvelopeSecrets, type EnvelopeCipher, encryptEnveloped } from "../../src/crypto/cms/enveloped.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import type { FoundStandIn } from "../../src/crypto/cms/stand-in.ts"
import { parseAddress } from "../../src/message/address.ts"
import { collect, type Prepared, preparedOf } from "../../src/pipeline/prepared.ts"
import { type Through, throughStandIn } from "../../src/pipeline/stand-in.ts"
import { type Holder, makeHolder, makePerson } from "../crypto/cms/alice.ts"
import { octetsOf, pieces, text } from "./leaving.ts"

const BOB = parseAddress("bob@partner.test")
const holder = makeHolder(makePerson("bob@partner.test", "Bob"))
const key: FoundStandIn = { kind: "key", key: { identity: holder.certificate.identity, scalar: holder.scalar } }
const SENT = {
  kind: "submission",
  account: "alice@example.test",
  device: "x",
  remote: "",
  helo: "",
  tls: true,
} as const
const ENTITY = "Content-Type: text/plain\r\n\r\nwhat nobody else may read\r\n"
const HEAD = "From: alice@example.test\r\nTo: bob@partner.test\r\nSubject: outside\r\nDKIM-Signature: v=1\r\n"
const TYPE =
  'MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'

async function envelopeOf(
  content: string | Uint8Array,
  cipher: EnvelopeCipher = "aes-256-cbc",
  to: readonly Holder[] = [holder],
) {
  const octets = Buffer.from(content)
  const options = {
    contentOctets: octets.length,
    recipients: to.map(({ certificate }) => cmsRecipient(certificate)),
    secrets: deriveEnvelopeSecrets(new Uint8Array(32).fill(3), cipher),
    cipher,
  }
  return Buffer.from(await collect(encryptEnveloped(preparedOf(octets).content(), options)))
}

const inBase64 = (envelope: Uint8Array, head = HEAD): Buffer => {
  const body = Buffer.from(envelope)
    .toString("base64")
    .replace(/.{1,76}/g, "$&\r\n")
  return Buffer.from(`${head}${TYPE}Content-Transfer-Encoding: base64\r\n\r\n${body}`)
}

function through(message: Uint8Array | Prepared, found: FoundStandIn = key, origin: object = SENT): Promise<Through> {
  const prepared = message instanceof Uint8Array ? preparedOf(message) : message
  return throughStandIn(prepared, { origin: { ...SENT, ...origin } }, BOB, { find: () => found })
}

async function opened(message: Uint8Array | Prepared): Promise<string> {
  const outcome = await through(message)
  if (outcome.kind !== "opened") throw new Error(JSON.stringify(outcome))
  return text(await octetsOf(outcome.message))
}

const cbc = await envelopeOf(ENTITY)
const gcm = await envelopeOf(ENTITY, "aes-256-gcm")
const [noHeader, allHeader, nothing] = await Promise.all(
  ["a line of text\r\nand another\r\n\r\n", "Content-Type: text/plain\r\n", ""].map((content) => envelopeOf(content)),
)

describe("is opened", () => {
  const want = `From: alice@example.test\r\nTo: bob@partner.test\r\nSubject: outside\r\nContent-Type: text/plain\r\nMIME-Version: 1.0\r\n\r\n${ENTITY.split("\r\n\r\n")[1]}`
  for (const cipher of ["aes-128-cbc", "aes-256-cbc", "aes-128-gcm", "aes-256-gcm"] as const)
    for (const size of [1, 7, 100_000])
      test(`${cipher}, in pieces of ${size} octets`, async () => {
        expect(await opened(pieces(inBase64(await envelopeOf(ENTITY, cipher)), size))).toBe(want)
      })

  test("what is not in base64, and what is encrypted to others as well", async () => {
    const another = makeHolder(makePerson("carol@x.test", "Carol"))
    const binary = Buffer.concat([
      Buffer.from(`${HEAD}${TYPE}Content-Transfer-Encoding: binary\r\n\r\n`),
      await envelopeOf(ENTITY, "aes-256-cbc", [another, holder]),
    ])
    expect(await opened(binary)).toBe(want)
  })

  test("what is larger than what is held, without holding it", async () => {
    const body = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(40_000)
    const whole = await opened(pieces(inBase64(await envelopeOf(`Content-Type: text/plain\r\n\r\n${body}`)), 65_536))
    expect(whole.endsWith(`\r\n\r\n${body}`)).toBe(true)
  })

  test("what its author has signed stays octet for octet", async () => {
    const signed =
      'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n odd  blanks \r\n\r\n--b\r\n\r\nsig\r\n--b--\r\n'
    expect(await opened(inBase64(await envelopeOf(signed)))).toContain(signed.slice(signed.indexOf("\r\n\r\n")))
  })
})

describe("the header section", () => {
  const rows: readonly (readonly [what: string, inside: string, want: readonly string[], not: readonly string[]])[] = [
    [
      "a subject that stands inside goes before the one outside",
      "Subject: inside\r\n",
      ["Subject: inside\r\n"],
      ["Subject: outside"],
    ],
    ["so do comments and keywords", "Comments: c\r\nKeywords: k\r\n", ["Comments: c\r\n", "Keywords: k\r\n"], []],
    [
      "an author that stands inside was looked at by nobody",
      "From: ceo@example.test\r\n",
      ["From: alice@example.test\r\n"],
      ["ceo@"],
    ],
    ["nor do other recipients, or whom to answer", "Bcc: x@y.test\r\nReply-To: x@y.test\r\n", [], ["x@y.test"]],
    ["a signature over what was encrypted says nothing any more", "", [], ["DKIM-Signature", "pkcs7"]],
  ]
  for (const [what, inside, want, not] of rows)
    test(what, async () => {
      const message = await opened(inBase64(await envelopeOf(`${inside}${ENTITY}`)))
      for (const one of want) expect(message).toContain(one)
      for (const one of not) expect(message).not.toContain(one)
    })
})

describe("is not opened, and the reason is one and the same", () => {
  const HELD = { kind: "held", because: "it is encrypted to a certificate of this gateway's, and cannot be opened" }
  const flipped = (octets: Uint8Array, at: number) =>
    octets.map((octet, index) => (index === octets.length + at ? octet ^ 0x80 : octet))
  const other = makeHolder(makePerson("bob@partner.test", "Bob"))
  const wrong: FoundStandIn = { kind: "key", key: { identity: holder.certificate.identity, scalar: other.scalar } }
  const absent: FoundStandIn = { kind: "key", key: { identity: other.certificate.identity, scalar: other.scalar } }
  const rows: readonly (readonly [what: string, message: Uint8Array, found?: FoundStandIn])[] = [
    ["padding that was altered", inBase64(flipped(cbc, -17))],
    [
      "content that was altered, so that its header is none",
      inBase64(flipped(cbc, -(ENTITY.length - (ENTITY.length % 16) + 16))),
    ],
    ["a tag that was altered", inBase64(flipped(gcm, -1))],
    ["authenticated content that was altered", inBase64(flipped(gcm, -20))],
    ["another key", inBase64(cbc), wrong],
    ["addressed to another certificate", inBase64(cbc), absent],
    ["content without a header section", inBase64(noHeader ?? cbc)],
    ["content that is all header", inBase64(allHeader ?? cbc)],
    ["no content", inBase64(nothing ?? cbc)],
  ]
  for (const [what, message, found] of rows) test(what, async () => expect(await through(message, found)).toEqual(HELD))
})

describe("is left as it is", () => {
  const SEALED = { kind: "sealed" }
  const message = inBase64(cbc)
  const multipart = Buffer.from(
    `${HEAD}Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n${inBase64(cbc, "")}\r\n--b--\r\n`,
  )
  const rows: readonly (readonly [what: string, message: Uint8Array, found?: FoundStandIn, origin?: object])[] = [
    ["what others send", message, key, { kind: "mx", account: null }],
    ["a message of the gateway's own", message, key, { account: null }],
    ["what is encrypted to no stand-in", message, { kind: "none" }],
    ["an envelope within a part", multipart],
    ["an envelope that is cut off", message.subarray(0, message.length - 40)],
    ["octets behind the envelope", inBase64(Buffer.concat([cbc, Buffer.from("x")]))],
    ["a text", Buffer.from(`${HEAD}\r\n${ENTITY}`)],
  ]
  for (const [what, octets, found, origin] of rows)
    test(what, async () => expect(await through(octets, found, origin)).toEqual(SEALED))
})

test("what is refused is held, for the reason", async () => {
  const message = inBase64(await envelopeOf(ENTITY))
  expect(await through(message, { kind: "refused", because: "why" })).toEqual({ kind: "held", because: "why" })
})

describe("line ends that mail does not carry", () => {
  const rows: readonly (readonly [what: string, body: string, hasWholeLines: boolean])[] = [
    ["none", "a\r\nb\r\n", true],
    ["a bare LF, as smuggling needs", "a\n.\nb\r\n", false],
    ["a bare CR", "a\r.\rb\r\n", false],
    ["a CR at the end", "a\r", false],
    ["a NUL", "a\0b\r\n", false],
    ["8 bit", "é\r\n", true],
  ]
  for (const [what, body, hasWholeLines] of rows)
    for (const size of [1, 1_000])
      test(`${what}, in pieces of ${size}`, async () => {
        const message = inBase64(await envelopeOf(`Content-Type: text/plain\r\n\r\n${body}`))
        expect(await through(pieces(message, size))).toMatchObject({ kind: "opened", hasWholeLines })
      })
})
