import { expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { hopsOf } from "../../src/wire/external.ts"

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
