import { describe, expect, test } from "vitest"
import { mayHoldResults, resultsField, withoutResultsBy } from "../../src/mime/authentication-results.ts"

const OURS = "mx.example.test"

describe("what claims to be by us is removed (RFC 8601 §5)", () => {
  const rows: [name: string, field: string, stays: boolean | string][] = [
    ["our id", "Authentication-Results: mx.example.test; dmarc=pass\r\n", false],
    ["in other case", "AUTHENTICATION-results: MX.Example.TEST; dmarc=pass\r\n", false],
    ["with a version", "Authentication-Results: mx.example.test 1; dmarc=pass\r\n", false],
    ["with a final dot", "Authentication-Results: mx.example.test.; dmarc=pass\r\n", false],
    ["quoted", 'Authentication-Results: "mx.\\example.test"; dmarc=pass\r\n', false],
    ["behind comments", "Authentication-Results: (a (b\\) c)) mx.example.test (d); dmarc=pass\r\n", false],
    ["folded", "Authentication-Results:\r\n\tmx.example.test;\r\n\tdmarc=pass\r\n", false],
    ["blanks before the colon", "Authentication-Results \t: mx.example.test; dmarc=pass\r\n", false],
    ["a line end before the colon", "Authentication-Results\r\n : mx.example.test; dmarc=pass\r\n", false],
    ["two line ends before the colon", "Authentication-Results\r\n \r\n\t: mx.example.test; dmarc=pass\r\n", false],
    [
      "a thousand blanks before the colon",
      `Authentication-Results${" ".repeat(1_000)}: mx.example.test; dmarc=pass\r\n`,
      false,
    ],
    [
      "behind a line that is no field",
      "no field\r\nAuthentication-Results: mx.example.test; dmarc=pass\r\n",
      "no field\r\n",
    ],
    [
      "a colon that begins the next line",
      "Authentication-Results \r\n: mx.example.test; dmarc=pass\r\n",
      ": mx.example.test; dmarc=pass\r\n",
    ],
    ["no result", "Authentication-Results: mx.example.test\r\n", false],
    ["no id", "Authentication-Results: dmarc=pass\r\n", false],
    ["empty", "Authentication-Results:\r\n", false],
    ["a comment without end", "Authentication-Results: (other.test; dmarc=pass\r\n", false],
    ["a quoted string without end", 'Authentication-Results: "mx.example.test; dmarc=pass\r\n', false],
    ["somebody else's", "Authentication-Results: other.test; dmarc=pass\r\n", true],
    ["our id in a comment", "Authentication-Results: other.test (mx.example.test); dmarc=pass\r\n", true],
    ["a name that only ends like ours", "Authentication-Results: evil-mx.example.test; dmarc=pass\r\n", true],
    ["ARC's", "ARC-Authentication-Results: i=1; mx.example.test; dmarc=pass\r\n", true],
    ["in a Subject", "Subject: Authentication-Results: mx.example.test; dmarc=pass\r\n", true],
  ]
  for (const [name, field, stays] of rows)
    test(`${name}: ${stays === true ? "stays" : "goes"}`, () => {
      const header = Buffer.from(`From: a@b.test\r\n${field}To: c@d.test\r\n\r\n`)
      const kept = Buffer.concat(withoutResultsBy(header, OURS)).toString()
      expect(kept).toBe(`From: a@b.test\r\n${stays === true ? field : stays || ""}To: c@d.test\r\n\r\n`)
      if (stays !== true) expect(mayHoldResults(header)).toBe(true)
    })
})

test("our id in U-labels goes", () => {
  const header = Buffer.from("Authentication-Results: MX.B\u00dccher.test; dmarc=pass\r\n\r\n")
  expect(Buffer.concat(withoutResultsBy(header, "mx.xn--bcher-kva.test")).toString()).toBe("\r\n")
})

describe("our field", () => {
  test("says none when there is none", () => {
    expect(resultsField(OURS, [])).toBe("Authentication-Results: mx.example.test;\r\n\tnone\r\n")
  })

  test("folds at blanks, and reads the same unfolded", () => {
    const row = `dkim=pass ${"header.x=yyyyyyyyyyyyyyyyyyyyyyyyyy ".repeat(8).trim()}`
    const field = resultsField(OURS, [row, "spf=pass"])
    expect(field.replace(/\r\n/g, "")).toBe(`Authentication-Results: mx.example.test;\t${row};\tspf=pass`)
    for (const line of field.split("\r\n")) expect(line.length).toBeLessThanOrEqual(80)
  })

  test("holds nothing that a sender made look like a result", () => {
    const field = resultsField(OURS, [
      'spf=none (x dmarc=pass (y) \\) z) smtp.helo="a; dmarc=pass (\\" b"',
      "arc=none\r\nX: y",
      'spf=none smtp.helo="b\u00fc\u0000\u001b"',
    ])
    expect(field).toBe(
      'Authentication-Results: mx.example.test;\r\n\tspf=none smtp.helo="a? dmarc?pass ?\\" b";\r\n\tarc=none??X: y;\r\n\tspf=none smtp.helo="b???"\r\n',
    )
  })

  test("is found again as ours", () => {
    const header = Buffer.from(`${resultsField(OURS, ["spf=pass smtp.mailfrom=a.test"])}\r\n`)
    expect(Buffer.concat(withoutResultsBy(header, OURS)).toString()).toBe("\r\n")
  })
})
