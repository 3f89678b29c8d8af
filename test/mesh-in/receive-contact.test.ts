import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { sha512 } from "../../src/crypto/primitives/hash.ts"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { GatewayError } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import { solving } from "../../src/mesh/admission.ts"
import { makeIntroduction } from "../../src/mesh/contact/introduction.ts"
import type { ContactStatement } from "../../src/mesh/contact/message.ts"
import { makeContactPerson } from "../../src/mesh/contact/person.ts"
import { pinId, pinWitness, saltedPin } from "../../src/mesh/pin.ts"
import type { Profile } from "../../src/mesh/profile.ts"
import { readAnySigned } from "../../src/mesh/signed.ts"
import type { Posted, PostResult } from "../../src/mesh-in/ports.ts"
import {
  MAX_NEW_SITES,
  MAX_OF_ORIGIN,
  MAX_WAITING,
  MAX_WAITING_OF_SITE,
  receivingContacts,
} from "../../src/mesh-in/receive-contact.ts"
import { ContactBook } from "../../src/store/contact-book.ts"
import { People } from "../../src/store/people.ts"
import {
  carol,
  carolHerself,
  carolsGateway,
  dave,
  gatewayOf,
  hers,
  his,
  mallory,
  mallorysGateway,
  NOON,
  request,
} from "../mesh/contact-world.ts"
import { connectedDevice, account as meshAccount } from "../mesh/people.ts"
import { openedState } from "./world.ts"

const opened = await openedState()
afterAll(() => opened[Symbol.asyncDispose]())

const CAROL = carol.profile.address
const DAVE = dave.profile.address
const ERIN = "erin@two.example"
const erin = meshAccount(ERIN, 8, his.profile.udf)
const people = new People(opened.state, { domains: ["two.example"], postmaster: null, recryptionKeys: null })
const some = Uint8Array.of(4)
const rest = { name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" } as const
for (const address of [DAVE, ERIN]) people.addAccount({ address, ...rest }, NOON)

/** UDF of the profile that a domain names for an address; Carol's says that her gateway's device is hers. */
const domains = new Map<string, { readonly udf: string; readonly gatewayDevice: string | null } | "silent">()
const asked: string[] = []
const book = new ContactBook(opened.state)
const { contacts, posts } = book
const receive = receivingContacts({
  book,
  async vouched(address, udf) {
    asked.push(address)
    await domainsAnswer
    const answer = domains.get(address)
    if (answer === "silent") throw new GatewayError("KEY_SOURCE_SILENT", "silent")
    return answer?.udf === udf ? answer : null
  },
  workOf: ({ waiting }) => Math.min(8, 2 + waiting),
  admissionKey: new Uint8Array(32).fill(3),
  log: silentLog(),
})
/** Domains say nothing before it resolves. */
let domainsAnswer = Promise.resolve()
const carolsDevice = connectedDevice(carol, 90, ["send-mail"]).profile.udf

beforeEach(() => {
  asked.length = 0
  domains.clear()
  domains.set(CAROL, { udf: carol.profile.udf, gatewayDevice: carolsDevice })
  for (const account of [DAVE, ERIN]) {
    for (const { address } of contacts.of(account)) contacts.remove(account, address)
    for (const { address } of posts.of(account)) posts.remove(account, address)
    contacts.setDelegate(account, null, NOON)
  }
})

const post = (message: Uint8Array, changes: Partial<Posted> = {}) =>
  receive({
    account: { address: DAVE, profile: dave.profile },
    message,
    object: readAnySigned(message),
    peer: hers.profile,
    admission: null,
    now: NOON,
    ...changes,
  })

function solved(result: PostResult): Uint8Array {
  const solution = result.kind === "admission" ? solving(result.challenge)?.find((step) => step !== null) : null
  if (!solution) throw new Error(`no challenge, but ${result.kind}`)
  return solution
}

/** Posts, works, and posts again. */
async function postWithWork(message: Uint8Array, changes: Partial<Posted> = {}): Promise<PostResult> {
  return post(message, { ...changes, admission: solved(await post(message, changes)) })
}

const refusal = (reason: string) => ({ kind: "refused", reason })
const accepted = { kind: "accepted" }
const decide = (state: "accepted" | "refused") => contacts.decide(DAVE, CAROL, { state, decidedBy: DAVE }, NOON)

describe("a stranger's request", () => {
  test("waits for the person once it was worked for, and its domain has said whose the address is", async () => {
    expect(await postWithWork(request())).toEqual(accepted)
    expect(contacts.at(DAVE, CAROL)).toMatchObject({
      state: "asking",
      udf: carol.profile.udf,
      service: hers.profile.udf,
    })
    expect(contacts.factsOf(DAVE, carol.profile.udf, CAROL)).toEqual({ blocked: false, accepted: false })
  })

  test("without the work, nobody is asked about it, and nothing is kept", async () => {
    expect((await post(request())).kind).toBe("admission")
    expect([asked, contacts.of(DAVE)]).toEqual([[], []])
  })

  test("that comes again, with its challenge or without, is accepted and does nothing", async () => {
    const message = request()
    const admission = solved(await post(message))
    for (const again of [admission, admission, null])
      expect(await post(message, { admission: again })).toEqual(accepted)
    expect(contacts.of(DAVE)).toHaveLength(1)
    expect(asked).toHaveLength(1)
  })

  test("is not paid for with what was solved for another text, through another service or to another person", async () => {
    const admission = solved(await post(request()))
    const others: readonly [Uint8Array, Partial<Posted>][] = [
      [request({ text: "Something else." }), {}],
      [
        request({ recipient: ERIN, recipientUdf: erin.profile.udf }),
        { account: { address: ERIN, profile: erin.profile } },
      ],
    ]
    for (const [message, changes] of others)
      expect((await post(message, { ...changes, admission })).kind).toBe("admission")
  })

  test("with another text has to wait for the first one's answer", async () => {
    await postWithWork(request())
    const second = request({ messageId: "NBAM-IBG7-4IM2-UNK6-NQOQ-HFSR-4LBE", text: "Please!" })
    expect(await post(second)).toEqual(refusal("asked already"))
  })

  test("costs more when more is asked", async () => {
    const before = await post(request())
    strangers(0, 7)
    const after = await post(request())
    expect(bitsOf(after)).toBeGreaterThan(bitsOf(before))
  })

  test("comes later where as many wait as may, of all or of its domain, or as many of its domain came", async () => {
    strangers(0, MAX_WAITING, (at) => ({ address: `s${at}@d${at}.example`, service: `M${at}` }))
    expect(await post(request())).toEqual(later)
    opened.state.sql.run`DELETE FROM mesh_contact`
    strangers(0, MAX_WAITING_OF_SITE, (at) => ({ service: `M${at}` }))
    expect(await post(request())).toEqual(later)
    strangers(MAX_WAITING_OF_SITE, MAX_OF_ORIGIN, (at) => ({ service: `M${at}` }))
    opened.state.sql.run`UPDATE mesh_contact SET state = 'refused'`
    expect(await post(request())).toEqual(later)
  })

  test("comes later where as many of its service came, and its domain has asked anybody; the first of another is heard", async () => {
    strangers(0, MAX_OF_ORIGIN, (at) => ({ address: `s${at}@d${at}.example` }))
    opened.state.sql.run`UPDATE mesh_contact SET state = 'refused'`
    expect((await post(request())).kind).toBe("admission")
    strangers(MAX_OF_ORIGIN, MAX_OF_ORIGIN + 1, () => ({ account: ERIN }))
    expect(await post(request())).toEqual(later)
  })

  test("is not heard for a while when the last one was refused, nor when he is blocked", async () => {
    await postWithWork(request())
    decide("refused")
    const second = request({ messageId: "NBAM-IBG7-4IM2-UNK6-NQOQ-HFSR-4LBE" })
    expect(await post(second)).toEqual(refusal("not a contact"))
    book.block({ account: DAVE, address: CAROL, by: DAVE }, NOON)
    expect(await post(second)).toEqual(refusal("not a contact"))
  })
})

describe("who wants to keep others out", () => {
  const DAY_MS = 86_400_000
  /** All that wait by right, from as few domains as it takes. */
  const fill = () => strangers(0, MAX_WAITING, (at) => ({ address: `s@h${at}.evil${at % 5}.example` }))
  const nextDay = { now: new Date(NOON.getTime() + DAY_MS + 1_000) }

  test("with few domains and many hosts keeps nobody out of whom nothing is known, and more work is asked of him", async () => {
    const before = bitsOf(await post(request()))
    fill()
    expect(bitsOf(await post(request()))).toBeGreaterThan(before)
    expect(await postWithWork(request())).toEqual(accepted)
  })

  test("has a share for each domain, with all hosts below it", async () => {
    strangers(0, MAX_WAITING_OF_SITE, (at) => ({ address: `s@h${at}.one.example`, service: `M${at}` }))
    expect(await post(request())).toEqual(later)
  })

  test("takes new domains each day, as many as a person hears of then; he hears of no more, and the next day of others", async () => {
    fill()
    strangers(MAX_WAITING, MAX_WAITING + MAX_NEW_SITES, (at) => ({ address: `s@new${at}.example` }))
    expect(await post(request())).toEqual(later)
    expect(await postWithWork(request(), nextDay)).toEqual(accepted)
    // Those of the day before are not new any more.
    const again = strangerAt("new50.example")
    expect(await post(again.message, nextDay)).toEqual(later)
  })

  test("does not flood the person: of many new domains in one day he hears of ten", async () => {
    fill()
    const outcomes: string[] = []
    for (let at = 0; at < MAX_NEW_SITES + 5; at += 1) {
      const { message } = strangerAt(`new${at}.example`)
      const first = await post(message)
      const { kind } = first.kind === "admission" ? await post(message, { admission: solved(first) }) : first
      outcomes.push(kind)
    }
    expect(outcomes.filter((kind) => kind === "accepted")).toHaveLength(MAX_NEW_SITES)
    expect(contacts.of(DAVE)).toHaveLength(MAX_WAITING + MAX_NEW_SITES)
  })

  test("asks no more by asking all at once, while his domain makes up its mind", async () => {
    strangers(0, MAX_WAITING_OF_SITE - 1, (at) => ({ address: `s@h${at}.slow.example` }))
    const paid = await Promise.all(
      ["a.slow.example", "b.slow.example", "c.slow.example"].map(async (domain) => {
        const { message } = strangerAt(domain)
        return { message, admission: solved(await post(message)) }
      }),
    )
    const { promise, resolve } = Promise.withResolvers<void>()
    domainsAnswer = promise
    const posted = paid.map(({ message, admission }) => post(message, { admission }))
    resolve()
    const outcomes = await Promise.all(posted)
    expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(["accepted", "later", "later"])
  })
})

const later = { kind: "later" }

/** Somebody at a domain that vouches for him, and what he asks. */
function strangerAt(domain: string): { readonly message: Uint8Array } {
  const octet = 140 + (strangersMade++ % 100)
  const person = meshAccount(`eve@${domain}`, octet, hers.profile.udf)
  const gatewayDevice = connectedDevice(person, octet, []).profile.udf
  domains.set(person.profile.address, { udf: person.profile.udf, gatewayDevice })
  const message = request({}, gatewayOf(person, octet), person)
  return { message }
}
let strangersMade = 0

/** Requests of others, at once. */
function strangers(
  from: number,
  to: number,
  of: (at: number) => Partial<Parameters<typeof contacts.ask>[0]> = () => ({}),
): void {
  const { envelope: profile } = mallory.profile
  const service = hers.profile.udf
  opened.state.transaction(() => {
    for (let at = from; at < to; at += 1) {
      const udf = presentUdf(binaryUdf(UDF_TYPE.digestSha2, sha512(Uint8Array.of(at & 255, at >> 8))))
      const address = `s${at}@one.example`
      contacts.ask({ account: DAVE, address, udf, profile, message: some, service, introducer: "", ...of(at) }, NOON)
    }
  })
}

function bitsOf(result: PostResult): number {
  if (result.kind !== "admission") throw new Error(result.kind)
  return result.challenge[1] ?? 0
}

describe("who pretends", () => {
  test("that another's address is his is told that it is not, and by nobody but its domain", async () => {
    expect(await postWithWork(request({}, mallorysGateway, mallory))).toEqual(
      refusal("its address does not name this profile"),
    )
    expect(contacts.of(DAVE)).toEqual([])
  })

  test("to be a contact, with a profile of his own, learns nothing before his domain has spoken, and is no contact then", async () => {
    await postWithWork(request())
    decide("accepted")
    expect((await post(request({}, mallorysGateway, mallory))).kind).toBe("admission")
    const device = connectedDevice(mallory, 97, ["send-mail"]).profile.udf
    domains.set(CAROL, { udf: mallory.profile.udf, gatewayDevice: device })
    expect(await postWithWork(request({}, mallorysGateway, mallory))).toEqual(refusal("known by another profile"))
    expect(contacts.at(DAVE, CAROL)).toMatchObject({ state: "accepted", udf: carol.profile.udf })
  })

  test("to be of another address under letters that look alike asks under what they are", async () => {
    const lookalike = meshAccount("cаrol@one.example", 12, hers.profile.udf)
    const speaker = gatewayOf(lookalike, 110)
    domains.set("cаrol@one.example", {
      udf: lookalike.profile.udf,
      gatewayDevice: connectedDevice(lookalike, 110, []).profile.udf,
    })
    expect(await postWithWork(request({}, speaker, lookalike))).toEqual(accepted)
    expect(contacts.of(DAVE).map(({ address }) => address)).toEqual(["cаrol@one.example"])
    expect(contacts.at(DAVE, CAROL)).toBeNull()
  })

  test.each(["CAROL@ONE.EXAMPLE", "carol@bücher.example", "carol@one.example ", "Carol <carol@one.example>", "carol"])(
    "to have the address %s is refused: no address is written so here",
    async (address) => {
      const odd = meshAccount(address, 13, hers.profile.udf)
      const speaker = { signer: gatewayOf(odd, 120).signer, connection: gatewayOf(odd, 120).connection }
      expect(await post(request({ sender: address }, speaker, odd))).toEqual(refusal("address malformed"))
    },
  )

  test("to send for an account by a gateway that it has given up is refused", async () => {
    domains.set(CAROL, { udf: carol.profile.udf, gatewayDevice: "MAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA" })
    expect(await postWithWork(request())).toEqual(refusal("device revoked"))
    domains.set(CAROL, { udf: carol.profile.udf, gatewayDevice: null })
    expect(await postWithWork(request())).toEqual(refusal("device revoked"))
    expect(await postWithWork(request({}, carolHerself))).toEqual(accepted)
  })

  test("while the domain is silent, comes later", async () => {
    domains.set(CAROL, "silent")
    expect(await postWithWork(request())).toEqual({ kind: "later" })
    expect(contacts.of(DAVE)).toEqual([])
  })

  test("to answer, without what was asked for, asks", async () => {
    book.request(
      { account: DAVE, address: CAROL, by: DAVE, text: "Hello", udf: "", introduction: new Uint8Array(0) },
      filled,
      NOON,
    )
    expect(await post(answer("ADE7-4VMG-Q2MG-IDHU-3XKI-ZPEU-AE"))).toEqual(refusal("text: empty"))
  })
})

const filled = (octets: number) => new Uint8Array(octets).fill(5)

/** Carol's answer to Dave's request. */
function answer(pin: string, changes: Partial<ContactStatement> = {}, speaker = carolsGateway, of = carol): Uint8Array {
  const salted = saltedPin(pin, "Contact")
  const contact = makeContactPerson(of.profile, speaker, NOON)
  const nonce = filled(16)
  const witness = pinWitness(salted, DAVE, nonce, readEnvelope(contact).payloadDigest)
  const [sent] = posts.of(DAVE)
  const proof = { pinId: pinId(salted, DAVE), nonce, witness }
  const messageId = sent?.responseId || "NBAM-IBG7-4IM2-UNK6-NQOQ-HFSR-4LBD"
  return request({ messageId, reply: false, pin: null, text: "", proof, contact, ...changes }, speaker, of)
}

describe("whom the person has asked", () => {
  function daveAsks() {
    const asking = { account: DAVE, address: CAROL, by: DAVE, text: "Hello", udf: "", introduction: new Uint8Array(0) }
    expect(book.request(asking, filled, NOON)).toBe("asked")
    const [sent] = posts.of(DAVE)
    if (sent === undefined) throw new Error("not sent")
    posts.compose(sent.id, carol.profile.udf, some)
    return sent
  }

  test("and has asked himself under another address is one person still: known under one", async () => {
    const other = meshAccount("carola@one.example", 4, hers.profile.udf)
    expect(other.profile.udf).toBe(carol.profile.udf)
    domains.set(other.profile.address, { udf: other.profile.udf, gatewayDevice: carolsDevice })
    const { pin } = daveAsks()
    const speaker = gatewayOf(other, 90)
    expect(await postWithWork(request({ messageId: "NDUI-ZEMQ-QXK4-VOFF-6KEX-GHCG-3ZD6" }, speaker, other))).toEqual(
      accepted,
    )
    expect(await post(answer(pin))).toEqual(refusal("known under another address"))
    expect(contacts.of(DAVE).map(({ address }) => address)).toEqual([other.profile.address])
  })

  test("is a contact with his answer, and needs no work", async () => {
    const { pin } = daveAsks()
    const message = answer(pin)
    expect(await post(message)).toEqual(accepted)
    expect(contacts.at(DAVE, CAROL)).toMatchObject({ state: "accepted", udf: carol.profile.udf, decidedBy: DAVE })
    expect(posts.of(DAVE)).toEqual([])
    expect(await post(message)).toEqual(accepted)
  })

  test("is nobody else, whatever he knows", async () => {
    const { pin } = daveAsks()
    domains.set(CAROL, { udf: mallory.profile.udf, gatewayDevice: connectedDevice(mallory, 97, []).profile.udf })
    expect(await post(answer(pin, {}, mallorysGateway, mallory))).toEqual(refusal("text: empty"))
    expect(contacts.of(DAVE)).toEqual([])
  })

  test("and asks himself at the same time, is a contact of both", async () => {
    daveAsks()
    expect(await post(request())).toEqual(accepted)
    expect(contacts.at(DAVE, CAROL)?.state).toBe("accepted")
    expect(posts.of(DAVE)).toMatchObject([{ kind: "answer", address: CAROL, udf: carol.profile.udf }])
  })

  test("is not one when the person has blocked him meanwhile", async () => {
    const { pin } = daveAsks()
    const message = answer(pin)
    book.block({ account: DAVE, address: CAROL, by: DAVE }, NOON)
    expect(await post(message)).toEqual(refusal("text: empty"))
    expect(contacts.at(DAVE, CAROL)?.state).toBe("blocked")
  })
})

describe("whom a contact introduces", () => {
  const erinsGateway = gatewayOf(erin, 130)
  const introduce = (subject: Pick<Profile, "udf"> = carol.profile) =>
    makeIntroduction(
      { introducer: erin.profile.udf, subject: subject.udf, recipient: dave.profile.udf },
      erinsGateway,
      { created: NOON, notOnOrAfter: new Date(NOON.getTime() + 1000) },
    )
  const knowsErin = (state: "accepted" | "refused") => {
    const { udf, envelope } = erin.profile
    contacts.accept(
      {
        account: DAVE,
        address: ERIN,
        udf,
        profile: envelope,
        message: new Uint8Array(0),
        service: "",
        introducer: "",
        decidedBy: DAVE,
      },
      NOON,
    )
    contacts.decide(DAVE, ERIN, { state, decidedBy: DAVE }, NOON)
  }

  test("asks without the work, and the person is told who introduces him", async () => {
    knowsErin("accepted")
    expect(await post(request({ introduction: introduce() }))).toEqual(accepted)
    expect(contacts.at(DAVE, CAROL)).toMatchObject({ state: "asking", introducer: ERIN })
  })

  test("asks where no stranger could any more, as one of ten that a contact introduces", async () => {
    knowsErin("accepted")
    strangers(0, MAX_WAITING, (at) => ({ address: `s${at}@d${at}.example` }))
    expect(await post(request())).toEqual(later)
    strangers(60, 60 + MAX_WAITING_OF_SITE - 1, (at) => ({ address: `s${at}@one.example`, introducer: ERIN }))
    const introduced = request({ introduction: introduce() })
    expect(await post(introduced)).toEqual(accepted)
    contacts.remove(DAVE, CAROL)
    strangers(90, 91, () => ({ introducer: ERIN }))
    expect(await post(introduced)).toEqual(later)
  })

  test("works like any other when the introduction is of another, or by nobody whom the person knows", async () => {
    expect((await post(request({ introduction: introduce() }))).kind).toBe("admission")
    knowsErin("refused")
    expect((await post(request({ introduction: introduce() }))).kind).toBe("admission")
    knowsErin("accepted")
    expect((await post(request({ introduction: introduce(mallory.profile) }))).kind).toBe("admission")
    const now = new Date(NOON.getTime() + 2000)
    expect((await post(request({ introduction: introduce() }), { now })).kind).toBe("admission")
  })
})

describe("the person", () => {
  const deciding = { account: DAVE, address: CAROL, by: DAVE }

  test("accepts, and the answer goes out", async () => {
    await postWithWork(request())
    book.accept(deciding, "Carol from Bern", NOON)
    expect(contacts.at(DAVE, CAROL)).toMatchObject({ state: "accepted", label: "Carol from Bern", decidedBy: DAVE })
    expect(posts.of(DAVE)).toMatchObject([{ kind: "answer", address: CAROL, udf: carol.profile.udf, state: "due" }])
  })

  test("accepts by asking himself who has asked", async () => {
    await postWithWork(request())
    const asking = { ...deciding, text: "Hello", udf: "", introduction: new Uint8Array(0) }
    expect(book.request(asking, filled, NOON)).toBe("accepted")
    expect(() => book.request(asking, filled, NOON)).toThrow(expect.objectContaining({ code: "CONTACT_EXISTS" }))
  })

  test("has nobody else decide, but whom he has delegated it to", async () => {
    await postWithWork(request())
    const byErin = { ...deciding, by: ERIN }
    const forbidden = expect.objectContaining({ code: "CONTACT_FORBIDDEN" })
    for (const act of [
      () => book.accept(byErin, null, NOON),
      () => book.refuse(byErin, NOON),
      () => book.block(byErin, NOON),
      () => book.remove(byErin),
    ])
      expect(act).toThrow(forbidden)
    contacts.setDelegate(DAVE, ERIN, NOON)
    book.accept(byErin, null, NOON)
    expect(contacts.at(DAVE, CAROL)).toMatchObject({ state: "accepted", decidedBy: ERIN })
  })

  test("accepts nobody who has not asked, and refuses nobody either", () => {
    const unknown = expect.objectContaining({ code: "CONTACT_UNKNOWN" })
    expect(() => book.accept(deciding, null, NOON)).toThrow(unknown)
    expect(() => book.refuse(deciding, NOON)).toThrow(unknown)
    expect(() => book.remove(deciding)).toThrow(unknown)
    book.block(deciding, NOON)
    expect(() => book.accept(deciding, null, NOON)).toThrow(unknown)
  })

  test("writes no link either", () => {
    const asking = { ...deciding, text: "see www.example.org", udf: "", introduction: new Uint8Array(0) }
    expect(() => book.request(asking, filled, NOON)).toThrow(expect.objectContaining({ code: "CONTACT_TEXT" }))
  })
})
