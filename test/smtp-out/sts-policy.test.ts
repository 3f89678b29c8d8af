import { parsePolicy, validateMx } from "mailauth/lib/mta-sts.js"
import { describe, expect, test } from "vitest"
import { MAX_AGE_SECONDS, matchesMx, parseStsPolicy, stsIdOf, stsPolicyLines } from "../../src/smtp-out/sts-policy.ts"

describe("the TXT record", () => {
  const rows: [name: string, records: string[], id: string | null][] = [
    ["as in RFC 8461 §3.1", ["v=STSv1; id=20160831085700Z;"], "20160831085700Z"],
    ["without the last semicolon, with extensions", ["v=STSv1;id=a1;ext=b"], "a1"],
    ["beside others", ["v=spf1 -all", "v=STSv1; id=1;"], "1"],
    ["two are none", ["v=STSv1; id=1;", "v=STSv1; id=2;"], null],
    ["nothing", [], null],
    ["no id", ["v=STSv1;"], null],
    ["an id with a dash", ["v=STSv1; id=2026-11;"], null],
    ["an id of 33", [`v=STSv1; id=${"1".repeat(33)};`], null],
    ["another version", ["v=STSv2; id=1;"], null],
    ["a blank before", [" v=STSv1; id=1;"], null],
  ]
  test.each(rows)("%s", (_name, records, id) => expect(stsIdOf(records)).toBe(id))
})

const POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"

describe("the policy", () => {
  test("as in RFC 8461 §3.2, whose lines a report repeats", () => {
    const parsed = parseStsPolicy(POLICY)
    expect(parsed).toEqual({
      kind: "policy",
      policy: { mode: "enforce", mx: ["mail.example.com", "*.example.net"], maxAgeSeconds: 604_800 },
    })
    if (parsed.kind === "policy") expect(parseStsPolicy(stsPolicyLines(parsed.policy).join("\n"))).toEqual(parsed)
  })

  const rows: [name: string, text: string][] = [
    ["LF and no last line end", POLICY.replaceAll("\r\n", "\n").trimEnd()],
    ["the first of two modes counts", POLICY.replace("mode: enforce", "mode: testing\nmode: none")],
    ["unknown fields", `${POLICY}ext: yes\r\n`],
    ["none without mx", "version: STSv1\nmode: none\nmax_age: 86400\n"],
    ["no version", POLICY.replace("version: STSv1\r\n", "")],
    ["another version", POLICY.replace("STSv1", "STSv2")],
    ["no mode", POLICY.replace("mode: enforce\r\n", "")],
    ["Enforce", POLICY.replace("enforce", "Enforce")],
    ["enforce without mx", POLICY.replaceAll(/mx: .*\r\n/g, "")],
    ["no max_age", POLICY.replace(/max_age.*/, "")],
    ["max_age of eleven digits", POLICY.replace("604800", "12345678901")],
    ["a negative max_age", POLICY.replace("604800", "-1")],
    ["a star inside", POLICY.replace("mail.example.com", "mail*.example.com")],
    ["a star alone", POLICY.replace("mail.example.com", "*")],
    ["an address with a port", POLICY.replace("mail.example.com", "mail.example.com:25")],
    ["nothing", ""],
    ["a web page", "<html><body>version: STSv1</body></html>"],
  ]
  test.each(rows)("%s: as mailauth reads it", (_name, text) => {
    let theirs: object | null = null
    try {
      const { mode, mx = [], maxAge } = parsePolicy(text, { strict: true })
      theirs = { mode, mx, maxAgeSeconds: maxAge }
    } catch (error) {
      expect(error).toHaveProperty("code", expect.stringMatching(/^invalid_sts_/))
    }
    const ours = parseStsPolicy(text)
    expect(ours.kind === "policy" ? ours.policy : null).toEqual(theirs)
  })

  test("more than a year is a year", () => {
    const parsed = parseStsPolicy(POLICY.replace("604800", "9999999999"))
    expect(parsed).toMatchObject({ kind: "policy", policy: { maxAgeSeconds: MAX_AGE_SECONDS } })
  })
})

describe("a mail exchanger", () => {
  const rows: [host: string, pattern: string, fits: boolean][] = [
    ["mail.example.com", "mail.example.com", true],
    ["MAIL.Example.com.", "mail.example.com", true],
    ["other.example.com", "mail.example.com", false],
    ["mx.example.net", "*.example.net", true],
    ["a.mx.example.net", "*.example.net", false],
    ["example.net", "*.example.net", false],
    [".example.net", "*.example.net", false],
    ["mxexample.net", "*.example.net", false],
    ["mx.example.net.attacker.test", "*.example.net", false],
  ]
  test.each(rows)("%s, %s: %s", (host, pattern, fits) => {
    expect(matchesMx(host, [pattern])).toBe(fits)
    expect(validateMx(host, { mode: "enforce", mx: [pattern], id: "1" }).valid).toBe(fits)
  })
})
