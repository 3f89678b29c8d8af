import { readFileSync, statSync, writeFileSync } from "node:fs"
import { expect, test } from "vitest"
import { hasCode } from "../../src/errors.ts"
import { formatJson } from "../../src/identity/json.ts"
import { Keyring, safeName } from "../../src/identity/keyring.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { makeAlice, makeFullDevice } from "./people.ts"

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "none",
    (error) => (hasCode(error, "KEYRING_LOCKED") ? "KEYRING_LOCKED" : (error as { code: string }).code),
  )

test("what was saved is what is opened, sealed and unsealed", async () => {
  await using folder = await temporaryFolder()
  const { person: alone } = await makeAlice("smime", "openpgp")
  const { person } = await makeFullDevice(alone, "laptop")
  for (const passphrase of ["correct horse", null]) {
    const keyring = new Keyring(folder.file("keyring"), passphrase)
    await keyring.save(person)
    const opened = await new Keyring(folder.file("keyring"), passphrase).open("alice@example.test")
    expect(JSON.parse(formatJson(opened))).toEqual(JSON.parse(formatJson(person)))
    expect(keyring.isSealed("alice@example.test")).toBe(passphrase !== null)
    const path = folder.file("keyring/alice@example.test.json")
    expect([statSync(path).mode & 0o777, statSync(folder.file("keyring")).mode & 0o777]).toEqual([0o600, 0o700])
    const scalar = Buffer.from(person.root.scalar).toString("base64")
    expect(readFileSync(path, "utf8").includes(scalar)).toBe(passphrase === null)
  }
})

test("a wrong passphrase, none, another address's file, a damaged one", async () => {
  await using folder = await temporaryFolder()
  const { person } = await makeAlice("smime")
  const keyring = new Keyring(folder.path, "right")
  await keyring.save(person)
  expect(await codeOf(new Keyring(folder.path, "wrong").open(person.address))).toBe("KEYRING_LOCKED")
  expect(await codeOf(new Keyring(folder.path, null).open(person.address))).toBe("KEYRING_LOCKED")
  expect(await codeOf(keyring.open("bob@example.test"))).toBe("KEYRING_MISSING")
  const text = readFileSync(keyring.pathOf(person.address), "utf8")
  writeFileSync(keyring.pathOf("bob@example.test"), text)
  expect(await codeOf(keyring.open("bob@example.test"))).toBe("KEYRING_LOCKED")
  writeFileSync(keyring.pathOf(person.address), text.slice(0, 100))
  expect(await codeOf(keyring.open(person.address))).toBe("STATE_CORRUPT")
  writeFileSync(keyring.pathOf(person.address), text.replace('"version": 1', '"version": 2'))
  expect(await codeOf(keyring.open(person.address))).toBe("STATE_VERSION")
})

test("a forged cost cannot exhaust the machine", async () => {
  await using folder = await temporaryFolder()
  const { person } = await makeAlice("smime")
  const keyring = new Keyring(folder.path, "right")
  await keyring.save(person)
  const path = keyring.pathOf(person.address)
  writeFileSync(path, readFileSync(path, "utf8").replace('"logN": 17', '"logN": 40'))
  expect(await codeOf(keyring.open(person.address))).toBe("SCALAR_INVALID")
})

test("file names of addresses", () => {
  const rows: [address: string, name: string][] = [
    ["alice+tag@example.test", "alice+tag@example.test"],
    ["a/b@example.test", "a%2Fb@example.test"],
    ['"..\\\\x"@example.test', "%22..%5C%5Cx%22@example.test"],
    [".hidden@example.test", "%2Ehidden@example.test"],
    ["a*b!'c@example.test", "a%2Ab%21%27c@example.test"],
    ["ä@example.test", "%C3%A4@example.test"],
  ]
  for (const [address, name] of rows) expect(safeName(address)).toBe(name)
})
