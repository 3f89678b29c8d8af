import { expect, test } from "vitest"
import { formatAddress } from "../../src/message/address.ts"
import { parsePathCommand } from "../../src/smtp-in/path.ts"

type Want = { path: string | null; args?: Record<string, string | true>; duplicate?: string } | "BAD"

const rows: [line: string, want: Want][] = [
  ["MAIL FROM:<a@b.example>", { path: "a@b.example" }],
  ["mail from:<a@b.example>", { path: "a@b.example" }],
  ["MAIL FROM: <a@b.example>", { path: "a@b.example" }],
  ["MAIL FROM:<>", { path: null }],
  [
    "MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8",
    { path: null, args: { SIZE: "10", BODY: "8BITMIME", SMTPUTF8: true } },
  ],
  ["MAIL FROM:<a@B.Example>  size=10", { path: "a@b.example", args: { SIZE: "10" } }],
  ['MAIL FROM:<"a> b\\" c@d"@b.example> SIZE=1', { path: '"a> b\\" c@d"@b.example', args: { SIZE: "1" } }],
  ["MAIL FROM:<@x.example,@y.example:a@b.example>", { path: "a@b.example" }],
  ["MAIL FROM:<ü@bücher.example> SMTPUTF8", { path: "ü@xn--bcher-kva.example", args: { SMTPUTF8: true } }],
  ["MAIL FROM:<a@b.example> ENVID=a+2Bb+20c", { path: "a@b.example", args: { ENVID: "a+b c" } }],
  ["MAIL FROM:<a@b.example> SIZE=1 SIZE=2", { path: "a@b.example", args: { SIZE: "2" }, duplicate: "SIZE" }],
  ["MAIL FROM:<a@b.example> ENVID=a+0Ab", "BAD"],
  ["MAIL FROM:<a@b.example> ENVID=a+2", "BAD"],
  ["MAIL FROM:<a@b.example> SIZE=", "BAD"],
  ["MAIL FROM:<a@b.example> =1", "BAD"],
  ["MAIL FROM:<a@b.example>SIZE=1", "BAD"],
  ["MAIL FROM:<a@b.example> \0", "BAD"],
  ["MAIL FROM:<a@b.example", "BAD"],
  ["MAIL FROM:a@b.example", "BAD"],
  ["MAIL FROM:<<a@b.example>>", "BAD"],
  ["MAIL FROM:<postmaster>", "BAD"],
  ["MAIL FROM:<a b@c.example>", "BAD"],
  ["RCPT TO:<a@b.example>", "BAD"],
]
for (const [line, want] of rows) {
  test(JSON.stringify(line), () => {
    const parsed = parsePathCommand("MAIL FROM", Buffer.from(line))
    if (want === "BAD") return expect(parsed).toBeNull()
    const path = parsed?.path
    expect({ ...parsed, path: path && path !== "postmaster" ? formatAddress(path) : path }).toMatchObject({
      args: false,
      ...want,
    })
    return undefined
  })
}

test("postmaster alone is a recipient, in any case", () => {
  for (const word of ["postmaster", "POSTMASTER", "Postmaster"])
    expect(parsePathCommand("RCPT TO", Buffer.from(`RCPT TO:<${word}>`))?.path).toBe("postmaster")
})

test("recipients that differ in any octet have different list keys", () => {
  const keys = ["a@b.example", "A@b.example", "a@c.example"].map((address) =>
    parsePathCommand("RCPT TO", Buffer.from(`RCPT TO:<${address}>`))?.address.toLowerCase(),
  )
  expect(new Set(keys).size).toBe(3)
})
