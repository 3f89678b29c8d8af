import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { makeDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { DkimKeys } from "../../src/store/dkim-keys.ts"
import { DkimSigners } from "../../src/store/dkim-signers.ts"
import { signingKeyState } from "../../src/store/signing-folder.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"

const DOMAIN = "example.test"
const [RSA, OTHER_RSA, ED] = [makeDkimKey("rsa-sha256"), makeDkimKey("rsa-sha256"), makeDkimKey("ed25519-sha256")]
const at = (hour: number): Date => new Date(Date.UTC(2026, 10, 26, hour))

let folder: TemporaryFolder
let keys: DkimKeys
let signers: DkimSigners

beforeEach(async () => {
  folder = await temporaryFolder()
  keys = new DkimKeys(folder.file("dkim"))
  signers = new DkimSigners(keys)
})
afterEach(() => folder[Symbol.asyncDispose]())

function signing(hour: number): string[] {
  return signers.of(DOMAIN, at(hour)).map(({ selector }) => selector)
}

function codeOf(act: () => unknown): string {
  try {
    act()
    return "none"
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error)
  }
}

test("pending, active, retired; what is accepted at a time is always signed by the keys of that time", () => {
  expect(signing(1)).toEqual([])
  keys.add(DOMAIN, "one", RSA, at(1))
  keys.add(DOMAIN, "ed", ED, at(1))
  expect(signing(2)).toEqual([])
  keys.activate(DOMAIN, at(3))
  // Mail from before the first key is signed, too: it must not leave unsigned any more.
  expect([signing(2), signing(3), signing(4)]).toEqual(Array(3).fill(["one", "ed"]))
  keys.add(DOMAIN, "two", OTHER_RSA, at(5))
  expect(signing(5)).toEqual(["one", "ed"])
  keys.activate(DOMAIN, at(6))
  expect(keys.of(DOMAIN).map((key) => `${key.selector} ${signingKeyState(key)}`)).toEqual([
    "one retired",
    "ed active",
    "two active",
  ])
  expect([signing(5), signing(6)]).toEqual([
    ["one", "ed"],
    ["ed", "two"],
  ])
  keys.retire(DOMAIN, "ed", at(7))
  expect([signing(6), signing(7)]).toEqual([["ed", "two"], ["two"]])
  keys.remove(DOMAIN, "one")
  // Its mail that is still queued is signed by what is left of that time, and that is one fewer.
  expect(signing(5)).toEqual(["ed"])
  for (const selector of ["ed", "two"]) keys.remove(DOMAIN, selector)
  expect([signing(8), keys.domains()]).toEqual([[], []])
})

test("of several pending keys, those named are activated, and only active ones of their algorithm retire", () => {
  for (const [selector, pem] of [
    ["one", RSA],
    ["ed", ED],
  ] as const)
    keys.add(DOMAIN, selector, pem, at(1))
  keys.activate(DOMAIN, at(2))
  for (const [selector, pem] of [
    ["two", OTHER_RSA],
    ["later", ED],
  ] as const)
    keys.add(DOMAIN, selector, pem, at(3))
  keys.activate(DOMAIN, at(4), ["two"])
  expect(keys.of(DOMAIN).map(signingKeyState)).toEqual(["retired", "active", "active", "pending"])
  expect(codeOf(() => keys.activate(DOMAIN, at(5), ["two"]))).toBe("DKIM_KEY_STATE")
})

test("files are for their owner only, and hold nothing else", () => {
  keys.add(DOMAIN, "one", RSA, at(1))
  const names = readdirSync(folder.file("dkim/example.test")).toSorted()
  expect(names).toEqual(["keys.json", "one.pem"])
  for (const name of names) expect(statSync(folder.file(`dkim/example.test/${name}`)).mode & 0o777).toBe(0o600)
  expect(statSync(folder.file("dkim/example.test")).mode & 0o777).toBe(0o700)
  expect(readFileSync(folder.file("dkim/example.test/keys.json"), "utf8")).not.toContain("PRIVATE")
})

test("a removed key leaves no file, the others stay", () => {
  keys.add(DOMAIN, "one", RSA, at(1))
  keys.add(DOMAIN, "ed", ED, at(1))
  keys.remove(DOMAIN, "one")
  expect(readdirSync(folder.file("dkim/example.test")).toSorted()).toEqual(["ed.pem", "keys.json"])
})

describe("what is wrong with the files is an error, never no signature", () => {
  const PEM = "dkim/example.test/one.pem"
  const rows: readonly (readonly [name: string, spoil: () => void, code: string, text: RegExp])[] = [
    [
      "others may read the key",
      () => chmodSync(folder.file(PEM), 0o640),
      "DKIM_KEY_UNUSABLE",
      /one\.pem: others can use it \(mode 640\): chmod 600/,
    ],
    [
      "the key is cut off",
      () => writeFileSync(folder.file(PEM), RSA.slice(0, 400)),
      "DKIM_KEY_UNUSABLE",
      /one\.pem: cannot be read/,
    ],
    ["the key is empty", () => writeFileSync(folder.file(PEM), ""), "DKIM_KEY_UNUSABLE", /one\.pem: cannot be read/],
    [
      "the key is another one",
      () => writeFileSync(folder.file(PEM), OTHER_RSA),
      "DKIM_KEY_UNUSABLE",
      /is not the one whose record is published/,
    ],
    ["the key is of another kind", () => writeFileSync(folder.file(PEM), ED), "DKIM_KEY_UNUSABLE", /is not the one/],
    ["the key is gone", () => removeFile(PEM), "DKIM_KEY_UNUSABLE", /one\.pem: ENOENT/],
    [
      "keys.json is cut off",
      () => writeFileSync(folder.file("dkim/example.test/keys.json"), "{"),
      "DKIM_KEYS_CORRUPT",
      /keys\.json: cannot be read/,
    ],
    [
      "keys.json is of a later version",
      () => writeFileSync(folder.file("dkim/example.test/keys.json"), '{"version":2,"keys":[]}'),
      "DKIM_KEYS_CORRUPT",
      /keys\.json: cannot be read/,
    ],
    [
      "keys.json is gone",
      () => removeFile("dkim/example.test/keys.json"),
      "DKIM_KEYS_CORRUPT",
      /keys\.json: is not there, and keys are/,
    ],
  ]
  for (const [name, spoil, code, text] of rows)
    test(name, () => {
      keys.add(DOMAIN, "one", RSA, at(1))
      keys.activate(DOMAIN, at(1))
      // Also when it was in memory before.
      expect(signing(2)).toEqual(["one"])
      spoil()
      expect(codeOf(() => signing(2))).toBe(code)
      expect(() => signing(2)).toThrow(text)
    })

  test("and it goes on when that is put right", () => {
    keys.add(DOMAIN, "one", RSA, at(1))
    keys.activate(DOMAIN, at(1))
    chmodSync(folder.file(PEM), 0o644)
    expect(codeOf(() => signing(2))).toBe("DKIM_KEY_UNUSABLE")
    chmodSync(folder.file(PEM), 0o600)
    expect(signing(2)).toEqual(["one"])
  })
})

test("a file that keys.json does not name is no key, and is not written over", () => {
  keys.add(DOMAIN, "one", RSA, at(1))
  writeFileSync(folder.file("dkim/example.test/two.pem"), ED, { mode: 0o600 })
  expect(keys.of(DOMAIN)).toHaveLength(1)
  expect(() => keys.add(DOMAIN, "two", OTHER_RSA, at(1))).toThrow(/two\.pem: is there, and no key of example\.test/)
  expect(readFileSync(folder.file("dkim/example.test/two.pem"), "utf8")).toBe(ED)
})

test("what cannot be added, activated, retired, removed", () => {
  const rows: readonly (readonly [act: () => unknown, code: string])[] = [
    [() => keys.add(DOMAIN, "../up", RSA, at(1)), "USAGE"],
    [() => keys.add(DOMAIN, "Upper", RSA, at(1)), "USAGE"],
    [() => keys.add(DOMAIN, "a.b", RSA, at(1)), "USAGE"],
    [() => keys.add(DOMAIN, "x".repeat(64), RSA, at(1)), "USAGE"],
    [
      () => keys.add(`${"d".repeat(60)}.${"d".repeat(60)}.${"d".repeat(60)}.${"d".repeat(56)}.test`, "one", RSA, at(1)),
      "USAGE",
    ],
    [() => keys.add(DOMAIN, "one", "no key", at(1)), "DKIM_KEY_UNUSABLE"],
    [() => keys.activate(DOMAIN, at(1)), "DKIM_KEY_STATE"],
    [() => keys.remove(DOMAIN, "one"), "DKIM_KEY_UNKNOWN"],
    [() => [keys.add(DOMAIN, "one", RSA, at(1)), keys.add(DOMAIN, "one", OTHER_RSA, at(1))], "DKIM_KEY_EXISTS"],
    [() => keys.retire(DOMAIN, "one", at(1)), "DKIM_KEY_STATE"],
  ]
  for (const [act, code] of rows) expect(codeOf(act)).toBe(code)
})

function removeFile(name: string): void {
  rmSync(folder.file(name))
}
