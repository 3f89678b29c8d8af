import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { pemDecode } from "../../../src/crypto/cms/pem.ts"
import type { Made } from "../../../src/identity/account.ts"
import { localPartHash } from "../../../src/identity/fingerprint.ts"
import { base64, formatJson } from "../../../src/identity/json.ts"
import { signDocument } from "../../../src/identity/jws.ts"
import { type ProfileMailPublic, signProfile, verifyProfile } from "../../../src/identity/profile.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { mailProfile, type SeenProfiles } from "../../../src/profiles/sources/mail-profile.ts"
import { type WebHandler, WebHosts } from "../../harness/web-hosts.ts"
import { makeAlice } from "../../identity/people.ts"

const never = new AbortController().signal
const ALICE = parseAddress("Alice@example.test")
const HASH = localPartHash("alice")
const FIRST = `https://mail-profile.example.test/.well-known/mail-profile/example.test/${HASH}?l=Alice`
const APEX = `https://example.test/.well-known/mail-profile/${HASH}?l=Alice`

let web: WebHosts
let alice: Made
let profile: ProfileMailPublic

beforeAll(async () => {
  web = await WebHosts.open(["mail-profile.example.test", "example.test"])
  alice = await makeAlice("smime", "openpgp")
  profile = verifyProfile(textOf(alice))
})
afterEach(() => {
  web.reset()
  seen.clear()
})
afterAll(async () => web?.[Symbol.asyncDispose]())

const seen = new Map<string, Date>()
const kept: SeenProfiles = {
  newest: (address, udf) => seen.get(`${address} ${udf}`) ?? null,
  saw: (address, udf, issuedAt) => void seen.set(`${address} ${udf}`, issuedAt),
}
const lookup = (address = ALICE, now = new Date("2027-01-01")) =>
  mailProfile({ ask: web.client(), seen: kept, byMesh: false, now: () => now }).lookup(address, never)
const answers =
  (text: string): WebHandler =>
  (_request, response) =>
    void response.setHeader("content-type", "application/jose+json").end(text)
const signed = (change: Partial<ProfileMailPublic>): string =>
  signProfile({ ...profile, ...change }, alice.person.root.scalar)

test("its keys are the domain's word for the address, with what their owner asks for and what stays of him", async () => {
  web.answer = answers(textOf(alice))
  const answer = await lookup()
  expect(web.requests).toEqual([FIRST])
  const common = { source: "profile", trust: "domain", place: FIRST, wish: "prefer", lineage: profile.udf }
  const pem = profile.connection.find(({ encrypt }) => encrypt === "S/MIME")?.key ?? ""
  const [own, intermediate] = pemDecode("CERTIFICATE", pem)
  expect(answer).toEqual({
    candidates: [
      { ...common, format: "smime", octets: own, chain: [intermediate], anchors: [profile.root] },
      { ...common, format: "openpgp", octets: expect.anything(), chain: [] },
    ],
    remarks: [],
  })
})

test.each(["no-name", "no-address"] as const)(
  "the domain itself is asked where its host for profiles has no address: %s",
  async (kind) => {
    web.dns.set("mail-profile.example.test", { kind })
    web.answer = answers(textOf(alice))
    expect((await lookup())?.candidates.map(({ place }) => place)).toEqual([APEX, APEX])
    expect(web.requests).toEqual([APEX])
  },
)

test("it is not asked where the host for profiles has none, or is silent", async () => {
  expect(await lookup()).toEqual({ candidates: [], remarks: [] })
  web.answer = (_request, response) => void response.writeHead(502).end()
  await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
  expect(web.requests).toEqual([FIRST, FIRST])
})

test("where neither has an address, there is none", async () => {
  for (const host of ["mail-profile.example.test", "example.test"]) web.dns.set(host, { kind: "no-name" })
  expect(await lookup()).toEqual({ candidates: [], remarks: ["no address: mail-profile.example.test, example.test"] })
})

test("an address literal has no domain to ask", async () => {
  expect(await lookup(parseAddress("alice@[192.0.2.1]"))).toBe(null)
})

describe("a profile that is older than one that was met", () => {
  const at = (days: number) => new Date(profile.issuedAt.getTime() + days * 86_400e3)
  const serve = (issuedAt: Date, change: Partial<ProfileMailPublic> = {}): void =>
    void (web.answer = answers(signed({ ...change, issuedAt })))

  test("is a replay, and no answer; the same and newer ones are taken", async () => {
    for (const days of [1, 1, 3]) {
      serve(at(days))
      expect((await lookup())?.candidates).toHaveLength(2)
    }
    serve(at(2))
    await expect(lookup()).rejects.toMatchObject({
      code: "KEY_SOURCE_SILENT",
      message: expect.stringMatching(/the profile of .* is older than the one of .* that was there before/),
    })
  })

  test("of another root says nothing about this one's", async () => {
    serve(at(3))
    await lookup()
    const other = await makeAlice("openpgp")
    web.answer = answers(textOf(other))
    expect((await lookup())?.candidates.map(({ lineage }) => lineage)).toEqual([verifyProfile(textOf(other)).udf])
  })

  test("from the future is taken, and does not make those of today replays", async () => {
    serve(at(5))
    expect((await lookup(ALICE, at(4)))?.candidates).toHaveLength(2)
    serve(at(4))
    expect((await lookup(ALICE, at(4)))?.candidates).toHaveLength(2)
  })

  test("with a wrong signature is none, and nothing is remembered of it", async () => {
    serve(at(1))
    await lookup()
    web.answer = answers(tampered(signed({ issuedAt: at(9) })))
    expect((await lookup())?.candidates).toEqual([])
    expect([...seen.values()]).toEqual([at(1)])
  })
})

const wishes: [
  prefer: "encrypt" | "clear",
  require: ProfileMailPublic["connection"][number]["require"],
  wish: string,
][] = [
  ["encrypt", null, "prefer"],
  ["clear", null, "clear"],
  ["clear", "encrypt", "require"],
  ["encrypt", "sign+encrypt", "require"],
  ["encrypt", "sign", "prefer"],
]
test.each(wishes)("prefer %s, require %s: %s", async (prefer, require, wish) => {
  web.answer = answers(signed({ connection: profile.connection.map((entry) => ({ ...entry, prefer, require })) }))
  expect((await lookup())?.candidates.map((candidate) => candidate.wish)).toEqual([wish, wish])
})

describe("is not used, and that is said:", () => {
  const rows: [name: string, text: () => string, remark: RegExp][] = [
    [
      "another's profile",
      () => signed({ address: "mallory@example.test" }),
      /^the profile that stands there is that of mallory@example\.test$/,
    ],
    ["an address of another domain", () => signed({ address: "alice@example.org" }), /that of alice@example\.org$/],
    ["a wrong signature", () => tampered(textOf(alice)), /signature is wrong/],
    [
      "another root than its udf",
      () => signed({ udf: "MAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA" }),
      /udf is not of this root/,
    ],
    ["a root that is no certificate", () => signed({ root: Uint8Array.of(1, 2, 3) }), /no signed profile/],
    ["a web page", () => "<!doctype html>", /not JSON/],
    ["nothing", () => "", /not JSON/],
    ["other JSON", () => "[]", /no signed profile/],
    ["no connection", () => signed({ connection: [] }), /names no key of a kind that we know/],
    [
      "no certificate in it",
      () => signed({ connection: profile.connection.slice(0, 1).map((entry) => ({ ...entry, key: "none" })) }),
      /has no certificate/,
    ],
    [
      "no OpenPGP in it",
      () => signed({ connection: profile.connection.slice(1).map((entry) => ({ ...entry, key: "none" })) }),
      /neither OpenPGP packets nor armor/,
    ],
  ]
  test.each(rows)("%s", async (_name, text, remark) => {
    web.answer = answers(text())
    expect(await lookup()).toEqual({ candidates: [], remarks: [expect.stringMatching(remark)] })
  })
})

test("connections of kinds to come are passed over, the others read", async () => {
  const payload = { type: "ProfileMailPublic", ...profile, root: base64(profile.root) }
  const connection = [
    { protocol: "Mesh", service: "x" },
    { protocol: "SMTP", encrypt: "MLS", key: 7 },
    ...profile.connection,
  ].map((entry) => ({ encrypt: "", ...entry }))
  const text = signDocument(
    "mail-profile+json",
    profile.udf,
    JSON.parse(formatJson({ ...payload, connection })),
    alice.person.root.scalar,
  )
  web.answer = answers(text)
  expect((await lookup())?.candidates.map(({ format }) => format)).toEqual(["smime", "openpgp"])
})

test("more connections than anybody has are not all read", async () => {
  const [smime] = profile.connection
  web.answer = answers(signed({ connection: Array.from({ length: 20 }, () => smime).flatMap((one) => one ?? []) }))
  const answer = await lookup()
  expect([answer?.candidates.length, answer?.remarks]).toEqual([8, ["only 8 of its connections were read"]])
})

test("what is longer than a profile is silence", async () => {
  web.answer = answers(" ".repeat(300_000))
  await expect(lookup()).rejects.toMatchObject({
    code: "KEY_SOURCE_SILENT",
    message: expect.stringContaining("more than 262144 octets"),
  })
})

function textOf({ request }: Made): string {
  const { payload } = JSON.parse(request) as { payload: string }
  return (JSON.parse(Buffer.from(payload, "base64url").toString()) as { profile: string }).profile
}

function tampered(text: string): string {
  const document = JSON.parse(text) as { payload: string }
  const payload = JSON.parse(Buffer.from(document.payload, "base64url").toString()) as object
  return JSON.stringify({
    ...document,
    payload: Buffer.from(JSON.stringify({ ...payload, name: "Mallory" })).toString("base64url"),
  })
}
