import { beforeEach, describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { parseAddress } from "../../src/message/address.ts"
import { Discovery, type DiscoveryOptions, type KeptAnswer } from "../../src/profiles/discover.ts"
import type { Judged, KeyCandidate, KeySource, SourceAnswer, Trust, UsableKey } from "../../src/profiles/key.ts"
import type { RememberedKey } from "../../src/profiles/resolution.ts"

const BOB = parseAddress("Bob@else.test")
const HOUR = 3_600e3
const NONE: SourceAnswer = { candidates: [], remarks: [] }

let nowMs: number
let kept: Map<string, KeptAnswer>
let seen: string[]
let judgements: string[]

beforeEach(() => {
  nowMs = Date.parse("2026-01-02T03:04:05Z")
  kept = new Map()
  seen = []
  judgements = []
})

function candidate(name: string, trust: Trust = "domain", source = "wkd"): KeyCandidate {
  return {
    format: "openpgp",
    octets: Buffer.from(name),
    chain: [],
    source,
    trust,
    place: "",
    wish: null,
    lineage: null,
  }
}
const found = (name: string): SourceAnswer => ({ candidates: [candidate(name)], remarks: [] })

/** Answers in turn; the last answer is repeated. An Error is thrown, `null` passes, a promise is waited for. */
interface Scripted extends KeySource {
  asked: number
}
function source(name: string, ...answers: readonly (SourceAnswer | Error | null | Promise<SourceAnswer>)[]): Scripted {
  const scripted: Scripted = {
    name,
    trust: "domain",
    asked: 0,
    async lookup() {
      const answer = answers[Math.min(scripted.asked, answers.length - 1)] ?? null
      scripted.asked += 1
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  return scripted
}
const SILENT = new GatewayError("KEY_SOURCE_SILENT", "wkd: connection refused")

function discovery(sources: readonly KeySource[], given: Partial<DiscoveryOptions> = {}): Discovery {
  const remembered: RememberedKey[] = []
  return new Discovery({
    sources,
    async judge(one): Promise<Judged> {
      const name = Buffer.from(one.octets).toString()
      judgements.push(name)
      if (name.startsWith("bad")) return { kind: "rejected", candidate: one, because: "it is bad" }
      if (name.startsWith("unknown"))
        return { kind: "undecided", candidate: one, because: "no answer from its OCSP responder" }
      const expiresAt = name.startsWith("short") ? new Date(nowMs + HOUR) : null
      const key = { ...one, fingerprint: name, lineage: name, expiresAt } as unknown as UsableKey
      return { kind: "usable", key, because: "", until: expiresAt }
    },
    answers: {
      find: (address, name) => kept.get(`${name} ${address}`) ?? null,
      keep: (address, name, answer) => void kept.set(`${name} ${address}`, answer),
    },
    memory: {
      of: () => remembered,
      trustsOf: () => [],
      saw: (address, keys) => void seen.push(...keys.map((key) => `${address} ${key.fingerprint}`)),
    },
    keepFoundMs: 24 * HOUR,
    keepNoneMs: HOUR,
    timeoutMs: 30,
    now: () => new Date(nowMs),
    ...given,
  })
}
const names = (keys: readonly UsableKey[]): string[] => keys.map(({ fingerprint }) => fingerprint)

describe("asking", () => {
  test("all sources at the same time; what they give is judged, and none of it remembered", async () => {
    const both = [source("wkd", found("one")), source("profile", found("two"), found("bad"))]
    const { address, keys, unanswered } = await discovery(both).resolve(BOB)
    expect([address, names(keys), unanswered]).toEqual(["bob@else.test", ["one", "two"], []])
    expect(seen).toEqual([])
  })

  test("remembered is the key that mail is encrypted to, as each source that has it names it", async () => {
    const both = [source("wkd", found("one"), found("two")), source("profile", found("one"), found("other"))]
    const finder = discovery([...both, source("vks", found("planted"))])
    const resolution = await finder.resolve(BOB)
    const [one] = resolution.keys
    if (one) finder.used(resolution, one)
    expect(seen).toEqual(["bob@else.test one", "bob@else.test one"])
  })

  test("one that fails is unanswered, with its reason; none is not", async () => {
    const { keys, unanswered, answers } = await discovery([source("wkd", SILENT), source("profile", NONE)]).resolve(BOB)
    expect(keys).toEqual([])
    expect(unanswered).toEqual([{ source: "wkd", trust: "domain", because: "wkd: connection refused" }])
    expect(answers.map(({ source: name, outcome }) => [name, outcome])).toEqual([
      ["wkd", "silent"],
      ["profile", "none"],
    ])
  })

  test("one that never answers is unanswered when its time is over, whatever it does with the signal", async () => {
    const never = source("wkd", new Promise<SourceAnswer>(() => undefined))
    const { unanswered } = await discovery([never, source("profile", NONE)]).resolve(BOB)
    expect(unanswered).toMatchObject([{ source: "wkd", because: "no answer within 0.03 s" }])
  })

  test("one that is not for such addresses passes: it is neither silent nor asked again", async () => {
    const { unanswered, answers } = await discovery([source("ldap", null)]).resolve(BOB)
    expect([unanswered, answers[0]?.outcome]).toEqual([[], "passed"])
  })

  test("a key that cannot be judged now is no key, and no answer", async () => {
    const { keys, unanswered, rejected } = await discovery([source("wkd", found("unknown"))]).resolve(BOB)
    expect([keys, rejected.length]).toEqual([[], 1])
    expect(unanswered).toMatchObject([{ source: "wkd", because: "no answer from its OCSP responder" }])
  })

  test.each([
    ["a certificate that is revoked", "one", "one", [], "wkd: It was revoked, as vks says."],
    [
      "a key that is revoked beside a newer one",
      "one",
      "old",
      ["new"],
      "wkd: Its key for encryption was revoked, as vks says.",
    ],
    [
      "a key of whose certificate nothing is left",
      "one",
      "old",
      [],
      "wkd: Its key for encryption was revoked, as vks says.",
    ],
    ["what another certificate says of the key", "two", "old", [], null],
    ["what is said of a key that is not used", "one", "older", ["new"], null],
  ] as const)("what one source knows holds for the copy of another: %s", async (_what, of, revoked, left, because) => {
    const vks = { candidates: [candidate("revoking", "keyserver", "vks")], remarks: [] }
    const finder = discovery([source("wkd", found("stale")), source("vks", vks)], {
      async judge(one): Promise<Judged> {
        const usable = (fingerprint: string, subkeys: readonly string[]) =>
          ({ ...one, fingerprint, lineage: fingerprint, subkeys, expiresAt: null }) as unknown as UsableKey
        const isStale = Buffer.from(one.octets).toString() === "stale"
        if (isStale) return { kind: "usable", key: usable("one", ["old"]), because: "", until: null }
        const revocations = { of, keys: [revoked] }
        return left.length === 0
          ? { kind: "rejected", candidate: one, because: "It is no use.", revoked: revocations }
          : { kind: "usable", key: usable(of, left), because: "", until: null, revoked: revocations }
      },
    })
    const { keys, rejected } = await finder.resolve(BOB)
    expect(keys.map((key) => key.source)).toEqual([...(because ? [] : ["wkd"]), ...(left.length > 0 ? ["vks"] : [])])
    expect(rejected.map(({ candidate: { source: name }, because: why }) => `${name}: ${why}`)).toEqual([
      ...(left.length > 0 ? [] : ["vks: It is no use."]),
      ...(because ? [because] : []),
    ])
  })

  test("who asks at the same time asks once", async () => {
    const one = source("wkd", found("one"))
    const finder = discovery([one])
    await Promise.all([finder.resolve(BOB), finder.resolve(BOB), finder.resolve(BOB)])
    expect(one.asked).toBe(1)
  })

  test("no more than a few candidates are judged, however many are given", async () => {
    const flood = { candidates: Array.from({ length: 1_000 }, (_, index) => candidate(`bad ${index}`)), remarks: [] }
    await discovery([source("wkd", flood)]).resolve(BOB)
    expect(judgements.length).toBeLessThan(50)
  })

  test("who gives very many keeps nobody else's from being looked at, and is not taken at its word that there is no more", async () => {
    const flood = { candidates: Array.from({ length: 1_000 }, (_, index) => candidate(`bad ${index}`)), remarks: [] }
    const dane = { candidates: [candidate("signed", "dnssec", "openpgpkey")], remarks: [] }
    const { keys, unanswered } = await discovery([source("wkd", flood), source("openpgpkey", dane)]).resolve(BOB)
    expect(names(keys)).toEqual(["signed"])
    expect(unanswered).toMatchObject([{ source: "wkd", trust: "domain" }])
  })
})

describe("what is kept", () => {
  test("an answer with keys holds; after half of its time it holds while the source is asked again", async () => {
    const one = source("wkd", found("old"), found("new"))
    const finder = discovery([one])
    await finder.resolve(BOB)
    nowMs += 11 * HOUR
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["old"])
    expect(one.asked).toBe(1)
    nowMs += 2 * HOUR
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["old"])
    expect(one.asked).toBe(2)
    nowMs += HOUR
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["new"])
  })

  test("the old answer holds while the source is silent, until its time is over", async () => {
    const one = source("wkd", found("old"), SILENT)
    const finder = discovery([one])
    await finder.resolve(BOB)
    nowMs += 23 * HOUR
    expect(await finder.resolve(BOB)).toMatchObject({ keys: [{ fingerprint: "old" }], unanswered: [] })
    nowMs += 2 * HOUR
    expect(await finder.resolve(BOB)).toMatchObject({ keys: [], unanswered: [{ source: "wkd" }] })
  })

  test("an answer without keys holds for its shorter time", async () => {
    const one = source("wkd", NONE, found("new"))
    const finder = discovery([one])
    await finder.resolve(BOB)
    nowMs += 0.4 * HOUR
    expect((await finder.resolve(BOB)).keys).toEqual([])
    expect(one.asked).toBe(1)
    nowMs += HOUR
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["new"])
  })

  test("before it says that there is no key left, everybody is asked again", async () => {
    const one = source("wkd", found("short"), found("new"))
    const finder = discovery([one], {
      async judge(candidateGiven) {
        const name = Buffer.from(candidateGiven.octets).toString()
        return name === "short" && one.asked === 1 && nowMs > Date.parse("2026-01-02T04:00:00Z")
          ? { kind: "rejected", candidate: candidateGiven, because: "it has expired" }
          : ({
              kind: "usable",
              key: { ...candidateGiven, fingerprint: name, lineage: name, expiresAt: null },
            } as unknown as Judged)
      },
    })
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["short"])
    nowMs += 2 * HOUR
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["new"])
    expect(one.asked).toBe(2)
  })

  test("silence is not kept beyond a minute, and never for others", async () => {
    const one = source("wkd", SILENT, found("one"))
    const finder = discovery([one])
    expect((await finder.resolve(BOB)).keys).toEqual([])
    expect((await finder.resolve(BOB)).unanswered).toHaveLength(1)
    expect(one.asked).toBe(1)
    nowMs += 61_000
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["one"])
  })

  test("a judgement holds for a while, and not beyond the end of the key", async () => {
    const finder = discovery([source("wkd", found("short"))])
    await finder.resolve(BOB)
    nowMs += 50 * 60_000
    await finder.resolve(BOB)
    expect(judgements).toEqual(["short"])
    nowMs += 20 * 60_000
    await finder.resolve(BOB)
    expect(judgements.length).toBeGreaterThan(1)
  })

  test("what a local source says is never kept, and a change is heard of at once", async () => {
    const pins = { ...source("pinned", NONE), isLocal: true as const }
    let pinned = NONE
    const local: KeySource = { ...pins, lookup: async () => pinned }
    const finder = discovery([local])
    expect((await finder.resolve(BOB)).keys).toEqual([])
    pinned = found("pin")
    finder.forget()
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["pin"])
    expect(kept.size).toBe(0)
  })

  test("what is asked for one spelling of an address is no answer for another: DANE's names tell them apart", async () => {
    const dane: KeySource = {
      name: "openpgpkey",
      trust: "dnssec",
      lookup: async ({ localPart }) => (localPart === "bob" ? found("one") : NONE),
    }
    const finder = discovery([dane])
    expect(names((await finder.resolve(BOB)).keys)).toEqual([])
    expect(names((await finder.resolve(parseAddress("bob@else.test"))).keys)).toEqual(["one"])
  })

  test("what its holder asks for counts as it is now, though the key was judged before", async () => {
    const asking = (wish: KeyCandidate["wish"]): SourceAnswer => ({
      candidates: [{ ...candidate("one"), wish, lineage: wish }],
      remarks: [],
    })
    const finder = discovery([source("profile", asking("clear"), asking("require"))])
    expect((await finder.ask(BOB)).keys).toMatchObject([{ wish: "clear" }])
    expect((await finder.ask(BOB)).keys).toMatchObject([{ wish: "require" }])
  })

  test("what a source vouches for is not what came along, though both are the same octets", async () => {
    const one = { ...candidate("one"), format: "smime" as const }
    const authority = [Buffer.from("authority")]
    const answers = [
      { ...one, chain: authority },
      { ...one, anchors: authority },
    ]
    const finder = discovery([source("smimea", ...answers.map((it) => ({ candidates: [it], remarks: [] })))])
    for (const _ of answers) await finder.ask(BOB)
    expect(judgements).toEqual(["one", "one"])
  })

  test("what was asked before a change does not hold behind it", async () => {
    const answer = Promise.withResolvers<SourceAnswer>()
    let pinned: Promise<SourceAnswer> | SourceAnswer = answer.promise
    const finder = discovery([{ ...source("pinned"), isLocal: true, lookup: async () => pinned }])
    const before = finder.resolve(BOB)
    pinned = found("pin")
    finder.forget()
    answer.resolve(NONE)
    expect((await before).keys).toEqual([])
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["pin"])
  })

  test("what was asked anew is what is known a moment later", async () => {
    const finder = discovery([source("wkd", found("old"), found("new"))])
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["old"])
    expect(names((await finder.ask(BOB)).keys)).toEqual(["new"])
    expect(names((await finder.resolve(BOB)).keys)).toEqual(["new"])
  })

  test("people who want to know ask everybody anew", async () => {
    const one = source("wkd", found("old"), found("new"))
    const finder = discovery([one])
    await finder.resolve(BOB)
    expect(await finder.ask(BOB)).toMatchObject({ keys: [{ fingerprint: "new" }], answers: [{ kept: false }] })
  })
})
