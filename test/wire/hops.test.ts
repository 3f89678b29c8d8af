import { expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { hopsOf, resolverOf } from "../../src/wire/hops.ts"
import { peer } from "../harness/peers.ts"
import { startValidatingDns, VALIDATING_DNS } from "../harness/validating-dns.ts"

const CONFIG = `domains = ["example.test"]
[relay]
next = "smtps://smart.example"
[[relay.domains]]
domain = "*.partner.example"
next = "smtp://hub.partner.example"
[[relay.domains]]
domain = "*.deep.partner.example"
next = "smtp://127.0.0.1:2525"
[[relay.domains]]
domain = "partner.example"
next = "mx"
tls = "required"
mx = ["*.partner.example"]
[[relay.domains]]
domain = "bücher.example"
next = "mx"
`

test("mail goes by the rule of its domain, else of the nearest above it, else as the rest", () => {
  const hopFor = hopsOf(parseConfig(CONFIG, "/instance/postern.toml"))
  const rows: [domain: string, want: object][] = [
    [
      "partner.example",
      { kind: "mx", domain: "partner.example", level: { tls: "required", mx: ["*.partner.example"] } },
    ],
    ["a.partner.example", { kind: "host", host: "hub.partner.example", port: 25, tls: "required" }],
    ["a.b.partner.example", { kind: "host", host: "hub.partner.example" }],
    ["a.deep.partner.example", { kind: "host", host: "127.0.0.1", port: 2525, tls: "opportunistic" }],
    ["deep.partner.example", { kind: "host", host: "hub.partner.example" }],
    ["notpartner.example", { kind: "host", host: "smart.example", port: 465, tls: "implicit" }],
    ["xn--bcher-kva.example", { kind: "mx", level: { tls: "published", mx: [] } }],
  ]
  for (const [domain, want] of rows) expect(hopFor(domain)).toMatchObject(want)
})

test.skipIf(!VALIDATING_DNS.every(peer))(
  "what DNS has validated is believed where the configuration says so",
  async () => {
    const records = ["@ MX 10 mx", "mx A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=1;"']
    await using dns = await startValidatingDns([{ name: "signed.example", state: "signed", records }])
    for (const validating of [true, false]) {
      const text = `domains = ["example.test"]\n[dns]\nservers = ["${dns.address}"]\nvalidating = ${validating}\n`
      const resolver = resolverOf(parseConfig(text, "/instance/postern.toml"))
      const mx = { records: [{ exchange: "mx.signed.example", preference: 10 }], secure: validating }
      expect(await resolver.mx("signed.example")).toMatchObject(mx)
      expect(await resolver.addresses("mx.signed.example")).toMatchObject({
        records: ["127.0.0.1"],
        secure: validating,
      })
      expect(await resolver.addresses("nobody.signed.example")).toMatchObject({ records: [], secure: validating })
      expect(await resolver.text("_mta-sts.signed.example")).toEqual(["v=STSv1; id=1;"])
      expect(await resolver.text("signed.example")).toEqual([])
    }
  },
)
