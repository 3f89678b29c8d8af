import { describe, expect, test } from "vitest"
import { decideTransport, type ExchangerFacts } from "../../src/smtp-out/transport.ts"

const HOST = "mx.remote.example"
const SIGNED = { kind: "usable", demand: { kind: "dane", records: [], names: [HOST] } } as const
const STS = { mode: "enforce", mx: ["*.remote.example"], maxAgeSeconds: 1 } as const
const ELSEWHERE = { ...STS, mx: ["mx.other.example"] }
const UNANSWERED = { kind: "unanswered", why: "SERVFAIL" } as const
const UNUSABLE = { kind: "unusable" } as const
const NONE = { kind: "none" } as const
const ANY = { requireTls: false, tlsOptional: false }
const REQUIRE = { requireTls: true, tlsOptional: false }
const OPTIONAL = { requireTls: false, tlsOptional: true }

function decided(facts: Partial<ExchangerFacts>): string {
  const level = { tls: "published", mx: [] } as const
  const decision = decideTransport({
    host: HOST,
    level,
    message: ANY,
    mxSecure: facts.tlsa !== undefined,
    tlsa: NONE,
    sts: null,
    ...facts,
  })
  if (decision.kind === "refused") return `refused: ${decision.result}`
  return typeof decision.tls === "object" ? "dane" : decision.tls
}

const level = (tls: ExchangerFacts["level"]["tls"], ...mx: string[]) => ({ tls, mx })

describe("what is published", () => {
  const rows: [name: string, facts: Partial<ExchangerFacts>, want: string][] = [
    ["nothing", {}, "opportunistic"],
    ["DANE", { tlsa: SIGNED }, "dane"],
    ["DANE before MTA-STS", { tlsa: SIGNED, sts: ELSEWHERE }, "dane"],
    ["TLSA bogus or unanswered: not there, and never in clear", { tlsa: UNANSWERED }, "refused: dnssec-invalid"],
    ["the same although MTA-STS would do", { tlsa: UNANSWERED, sts: STS }, "refused: dnssec-invalid"],
    ["TLSA that nobody can use: TLS without verification", { tlsa: UNUSABLE }, "encrypted"],
    ["the same with MTA-STS: verified", { tlsa: UNUSABLE, sts: STS }, "required"],
    ["MTA-STS enforce", { sts: STS }, "required"],
    ["MTA-STS enforce, another host", { sts: ELSEWHERE }, "refused: validation-failure"],
    ["MTA-STS testing, another host", { sts: { ...ELSEWHERE, mode: "testing" } }, "opportunistic"],
    ["MTA-STS none", { sts: { ...ELSEWHERE, mode: "none" } }, "opportunistic"],
  ]
  test.each(rows)("%s", (_name, facts, want) => expect(decided(facts)).toBe(want))
})

describe("the administrator's rule", () => {
  const rows: [name: string, facts: Partial<ExchangerFacts>, want: string][] = [
    [
      "opportunistic, whatever is published",
      { level: level("opportunistic"), tlsa: UNANSWERED, sts: ELSEWHERE },
      "opportunistic",
    ],
    ["required", { level: level("required") }, "required"],
    ["required, DANE will do", { level: level("required"), tlsa: SIGNED }, "dane"],
    ["required, TLSA that nobody can use", { level: level("required"), tlsa: UNUSABLE }, "required"],
    ["required, TLSA unanswered", { level: level("required"), tlsa: UNANSWERED }, "refused: dnssec-invalid"],
    ["required does not lift MTA-STS", { level: level("required"), sts: ELSEWHERE }, "refused: validation-failure"],
    ["required, listed", { level: level("required", "*.remote.example") }, "required"],
    ["required, not listed", { level: level("required", "mx.other.example") }, "refused: validation-failure"],
    ["dane", { level: level("dane"), tlsa: SIGNED }, "dane"],
    ["dane, not listed", { level: level("dane", "mx.other.example"), tlsa: SIGNED }, "refused: validation-failure"],
    ["dane, none", { level: level("dane"), sts: STS }, "refused: dane-required"],
    ["dane, none that can be used", { level: level("dane"), tlsa: UNUSABLE }, "refused: dane-required"],
  ]
  test.each(rows)("%s", (_name, facts, want) => expect(decided(facts)).toBe(want))
})

describe("the message's demand (RFC 8689)", () => {
  const rows: [name: string, facts: Partial<ExchangerFacts>, want: string][] = [
    ["REQUIRETLS needs to know whose the exchanger is", { message: REQUIRE }, "refused: validation-failure"],
    ["REQUIRETLS, MX signed", { message: REQUIRE, mxSecure: true }, "required"],
    ["REQUIRETLS, DANE", { message: REQUIRE, tlsa: SIGNED }, "dane"],
    ["REQUIRETLS, MTA-STS", { message: REQUIRE, sts: STS }, "required"],
    [
      "REQUIRETLS, MTA-STS testing says whose it is too",
      { message: REQUIRE, sts: { ...STS, mode: "testing" } },
      "required",
    ],
    [
      "REQUIRETLS, not in the policy",
      { message: REQUIRE, sts: { ...ELSEWHERE, mode: "testing" } },
      "refused: validation-failure",
    ],
    ["REQUIRETLS is more than a rule", { message: REQUIRE, level: level("opportunistic"), mxSecure: true }, "required"],
    ["REQUIRETLS, the administrator's list", { message: REQUIRE, level: level("required", HOST) }, "required"],
    ["TLS-Required: No lifts MTA-STS", { message: OPTIONAL, sts: ELSEWHERE }, "opportunistic"],
    ["TLS-Required: No lifts DANE", { message: OPTIONAL, tlsa: UNANSWERED }, "opportunistic"],
    ["TLS-Required: No lifts no rule", { message: OPTIONAL, level: level("required") }, "required"],
  ]
  test.each(rows)("%s", (_name, facts, want) => expect(decided(facts)).toBe(want))
})
