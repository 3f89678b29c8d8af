import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/load.ts"
import { makeAccount } from "../../../src/identity/account.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { type Decision, decide } from "../../../src/profiles/decide.ts"
import { Discovery } from "../../../src/profiles/discover.ts"
import { policyFor } from "../../../src/profiles/policy.ts"
import type { RememberedKey } from "../../../src/profiles/resolution.ts"
import { wkd } from "../../../src/profiles/sources/wkd.ts"
import { judge } from "../../../src/profiles/usable.ts"
import { type WebHandler, WebHosts } from "../../harness/web-hosts.ts"
import { makingAt, NOW } from "../../identity/people.ts"
import { rules } from "../judging.ts"

const JOE = parseAddress("joe@example.org")
const DAY_MS = 86_400e3
/** Encryption preferred, mail without a key in clear: as it is unless something else is configured. */
const { base } = parseConfig('domains = ["example.test"]', "/x/postern.toml").policy.outgoing
const stated = policyFor({ sender: null, recipient: JOE, subject: "", fields: () => [] }, { base, rules: [] })

let web: WebHosts
let keys: { readonly joe: Uint8Array; readonly mallory: Uint8Array }
let now: Date
let remembered: RememberedKey[]
let discovery: Discovery

beforeAll(async () => {
  web = await WebHosts.open(["example.org", "openpgpkey.example.org"])
  const [joe, mallory] = await Promise.all([keyOf(), keyOf()])
  keys = { joe, mallory }
})
afterAll(async () => web?.[Symbol.asyncDispose]())
beforeEach(() => {
  web.reset()
  now = NOW
  remembered = []
  discovery = new Discovery({
    sources: [wkd(web.client({ timeoutMs: 1_500 }))],
    judge: (candidate, address, at) => judge(candidate, address, rules({ at }), AbortSignal.timeout(10_000)),
    answers: { find: () => null, keep: () => undefined },
    memory: {
      trustsOf: () => [],
      of: () => [...remembered],
      saw: (_address, found, at) => {
        remembered.push(...found.map((key) => ({ ...key, firstSeen: at, lastSeen: at })))
      },
    },
    keepFoundMs: DAY_MS,
    keepNoneMs: DAY_MS,
    timeoutMs: 6_000,
    now: () => now,
  })
})

async function keyOf(): Promise<Uint8Array> {
  const account = { address: "joe@example.org", name: "Joe", formats: ["openpgp"] } as const
  return (await makeAccount(account, makingAt())).person.openpgp?.certificate ?? new Uint8Array()
}

const octets =
  (body: Uint8Array | string): WebHandler =>
  (_request, response) =>
    void response.end(body)

async function decided(): Promise<Decision["kind"]> {
  const resolution = await discovery.resolve(JOE)
  const decision = decide(stated, resolution)
  if (decision.kind === "encrypt") discovery.used(resolution, decision.key)
  return decision.kind
}

const attacks: [what: string, act: () => void, then: Decision["kind"], first: Decision["kind"]][] = [
  ["the server is silenced", () => void (web.answer = () => undefined), "wait", "wait"],
  ["connections are reset", () => void (web.answer = (request) => request.socket.destroy()), "wait", "wait"],
  [
    "the certificate is cut off on the way",
    () => {
      web.answer = (_request, response) =>
        void response.write(keys.joe.subarray(0, 99), () => response.socket?.destroy())
    },
    "wait",
    "wait",
  ],
  ["DNS is silenced", () => void web.dns.set("openpgpkey.example.org", "SERVFAIL"), "wait", "wait"],
  [
    "DNS leads inside",
    () => void web.dns.set("openpgpkey.example.org", { kind: "addresses", addresses: ["10.0.0.1"] }),
    "wait",
    "wait",
  ],
  [
    "DNS denies the sub-domain, and the domain's web site has no keys",
    () => void web.dns.set("openpgpkey.example.org", { kind: "no-name" }),
    "hold",
    "send",
  ],
  [
    "DNS denies both names",
    () => {
      for (const host of ["openpgpkey.example.org", "example.org"]) web.dns.set(host, { kind: "no-name" })
    },
    "hold",
    "send",
  ],
  ["the server itself has none any more", () => undefined, "hold", "send"],
  ["the server itself has a web page instead", () => void (web.answer = octets("<html>")), "hold", "send"],
  ["the server itself has another's key", () => void (web.answer = octets(keys.mallory)), "hold", "encrypt"],
]

test.each(attacks)("row 36: %s: mail to who had a key yesterday never leaves in clear", async (_what, act, then) => {
  web.answer = octets(keys.joe)
  expect(await decided()).toBe("encrypt")
  now = new Date(NOW.getTime() + DAY_MS)
  web.reset()
  act()
  expect(await decided()).toBe(then)
})

test("another's key is not taken for a known one once it has been seen", async () => {
  web.answer = octets(keys.joe)
  await decided()
  web.answer = octets(keys.mallory)
  for (const days of [1, 2, 3]) {
    now = new Date(NOW.getTime() + days * DAY_MS)
    expect(await decided()).toBe("hold")
  }
})

test.each(attacks)("%s: of a first contact nothing is remembered", async (_what, act, _then, first) => {
  act()
  expect(await decided()).toBe(first)
})
