import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type MailProfileContent, signMailProfile, verifyMailProfile } from "../../../src/identity/mail-profile.ts"
import { signProfile } from "../../../src/identity/profile.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { KeyCandidate } from "../../../src/profiles/key.ts"
import { mailProfile, type SeenProfiles } from "../../../src/profiles/sources/mail-profile.ts"
import { judge } from "../../../src/profiles/usable.ts"
import { makeHolder, makePerson } from "../../crypto/cms/alice.ts"
import { WebHosts } from "../../harness/web-hosts.ts"
import { account, service } from "../../mesh/people.ts"

const BOB = "bob@two.example"
const NOW = new Date()
const never = new AbortController().signal
const two = service(70)
const bob = account(BOB, 2, two.profile.udf)
const person = makePerson(BOB, "Bob")
const holder = makeHolder(person)
const pem = (der: Uint8Array) =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE-----\n`

const smime = {
  protocol: "SMTP",
  encrypt: "S/MIME",
  prefer: "encrypt",
  require: null,
  key: pem(holder.certificate.der) + pem(person.intermediate.der),
} as const

const overMesh = {
  protocol: "Mesh",
  prefer: "encrypt",
  require: "encrypt",
  service: "https://mail.two.example/.well-known/mmm/",
  deviceUdf: two.profile.udf,
} as const

function profileOf(of = bob, issuedAt = NOW, ways: MailProfileContent["connection"] = [overMesh, smime]): Uint8Array {
  return signMailProfile(
    { profile: of.profile, administrator: of.administrator },
    { name: "Bob", root: person.root.der, issuedAt, connection: ways },
    person.rootScalar,
  )
}

function firstVersion(issuedAt: Date): Uint8Array {
  const root = person.root.der
  const { udf } = verifyMailProfile(profileOf())
  const profile = { version: 1, udf, root, address: BOB, name: "Bob", issuedAt, connection: [smime] } as const
  return new TextEncoder().encode(signProfile(profile, person.rootScalar))
}

let web: WebHosts
const seen = new Map<string, Date>()
const kept: SeenProfiles = {
  newest: (address, udf) => seen.get(`${address} ${udf}`) ?? null,
  saw: (address, udf, issuedAt) => void seen.set(`${address} ${udf}`, issuedAt),
}
beforeAll(async () => {
  web = await WebHosts.open(["mail-profile.two.example"])
})
beforeEach(() => {
  web.reset()
  seen.clear()
})
afterAll(() => web?.[Symbol.asyncDispose]())

/** What stands there in version 2, and in version 1. */
function published(second: Uint8Array | number, first: Uint8Array | number = 404): void {
  web.answer = ({ url = "" }, response) => {
    const octets = url.includes("/mail-profile/v2/two.example/") ? second : first
    if (typeof octets === "number") response.writeHead(octets).end()
    else response.end(octets)
  }
}
const lookup = (byMesh = true) =>
  mailProfile({ ask: web.client(), seen: kept, byMesh, now: () => NOW }).lookup(parseAddress(BOB), never)

const judged = (candidate: KeyCandidate, address = BOB) =>
  judge(
    candidate,
    parseAddress(address),
    { at: NOW, roots: [], revocation: { kind: "off" }, tags: false } as Parameters<typeof judge>[2],
    never,
  )

describe("a mail profile of version 2", () => {
  test("tells of the account and of its keys, all known by the personal root", async () => {
    published(profileOf())
    const { candidates = [] } = (await lookup()) ?? {}
    expect(candidates.map(({ format, wish }) => [format, wish])).toEqual([
      ["mesh", "require"],
      ["smime", "prefer"],
    ])
    expect(new Set(candidates.map(({ lineage }) => lineage)).size).toBe(1)
    for (const candidate of candidates) expect(await judged(candidate)).toMatchObject({ kind: "usable" })
  })

  test("with many ways over the Mesh has one: each would be the whole profile, verified and kept", async () => {
    published(
      profileOf(
        bob,
        NOW,
        Array.from({ length: 32 }, () => overMesh),
      ),
    )
    expect((await lookup())?.candidates).toHaveLength(1)
  })

  test("of somebody else is not used", async () => {
    published(profileOf(account("mallory@two.example", 3, two.profile.udf)))
    const remarks = ["the profile that stands there is that of mallory@two.example"]
    expect(await lookup()).toEqual({ candidates: [], remarks })
  })

  test("an account is not for another address", async () => {
    published(profileOf())
    const [candidate] = (await lookup())?.candidates ?? []
    if (candidate === undefined) throw new Error("no candidate")
    expect(await judged(candidate, "carol@two.example")).toMatchObject({ kind: "rejected" })
  })

  test("with one bit another is none", async () => {
    published(profileOf().map((octet, at) => (at === 900 ? octet ^ 1 : octet)))
    expect((await lookup())?.candidates).toEqual([])
  })

  test("older than the one before is a replay, and no answer", async () => {
    published(profileOf())
    await lookup()
    published(profileOf(bob, new Date(NOW.getTime() - 86_400_000)))
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
  })

  test("hidden behind an older one of version 1 is a replay, and no answer", async () => {
    published(profileOf())
    await lookup()
    published(404, firstVersion(new Date(NOW.getTime() - 86_400_000)))
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
    published(404, firstVersion(NOW))
    const { candidates = [], remarks } = (await lookup()) ?? {}
    expect(candidates.map(({ format }) => format)).toEqual(["smime"])
    expect(remarks).toEqual(["the profile of version 2 that was there before is gone"])
  })

  test("older than one of version 1 that was there before is a replay, and no answer", async () => {
    published(404, firstVersion(NOW))
    expect((await lookup())?.candidates).toHaveLength(1)
    published(profileOf(bob, new Date(NOW.getTime() - 86_400_000)))
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
  })

  test("that is broken is told of beside version 1, and is no answer where there was one before", async () => {
    const broken = new TextEncoder().encode("<html>")
    published(broken, firstVersion(NOW))
    const { candidates = [], remarks } = (await lookup()) ?? {}
    expect(candidates.map(({ format }) => format)).toEqual(["smime"])
    expect(remarks).toEqual([expect.stringMatching(/^what stands there is no signed profile of version 2: /)])
    published(profileOf())
    await lookup()
    for (const first of [404, firstVersion(NOW)]) {
      published(broken, first)
      await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
    }
  })

  test("a server that does not answer is no answer", async () => {
    published(503)
    await expect(lookup()).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
  })

  test("is not asked for by a gateway without a part in the Mesh", async () => {
    published(profileOf())
    expect((await lookup(false))?.candidates).toEqual([])
    expect(web.requests.some((url) => url.includes("/v2/"))).toBe(false)
  })
})
