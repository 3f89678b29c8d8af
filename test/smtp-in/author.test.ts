import { describe, expect, test } from "vitest"
import { isAmbiguous } from "../../src/smtp-in/author.ts"

describe("authors on whom readers may differ", () => {
  const rows: [from: string, want: boolean][] = [
    ["me@attacker.test", false],
    ["<me@attacker.test>", false],
    ["Me <me@attacker.test>", false],
    ["Me <me@attacker.test> (<ceo@bank.test>)", false],
    ['"<ceo@bank.test>" <me@attacker.test>', false],
    ["ceo@bank.test <me@attacker.test>", false],
    ["Doe, Jane <jane@a.test>, b@b.test", false],
    ["group: a@a.test, b@b.test;", false],
    ["<@relay.test,@other.test:me@a.test>", false],
    ["", false],
    ["<me@attacker.test> <ceo@bank.test>", true],
    ["<me@attacker.test> ceo@bank.test", true],
    ["<me@attacker.test>ceo@bank.test", true],
    ["<me@attacker.test ceo@bank.test>", true],
    ["me@attacker.test ceo@bank.test", true],
    ["a@a.test, <me@attacker.test> <ceo@bank.test>", true],
    ['"<ceo@bank.test> <me@attacker.test>', true],
    ["(<ceo@bank.test> <me@attacker.test>", true],
  ]
  for (const [from, want] of rows) test(from, () => expect(isAmbiguous(from)).toBe(want))
})
