import { chmodSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import type { Addressee } from "../../src/crypto/cms/recipient-infos.ts"
import { STAND_IN_PERIOD_MS } from "../../src/crypto/cms/stand-in.ts"
import { p256PublicPoint } from "../../src/crypto/primitives/p256.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { hasCode } from "../../src/errors.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { makeStandInAuthority, StandIns } from "../../src/identity/stand-ins.ts"
import { parseAddress } from "../../src/message/address.ts"
import type { Account } from "../../src/store/account.ts"
import { StandInAuthorities, type StandInAuthority, standInState } from "../../src/store/stand-in-authorities.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"

const AT = new Date("2026-11-26T10:00:00Z")
const [ALICE, MALLORY] = ["alice@example.test", "mallory@example.test"]
const BOB = parseAddress("bob@partner.test")

let folder: TemporaryFolder
let accounts: Map<string, Account>
let clock: Date
let authorities: StandInAuthorities
let standIns: StandIns
let first: StandInAuthority

const made = new Map(
  await Promise.all([ALICE, MALLORY].map(async (address) => [address, await accountOf(address)] as const)),
)

async function accountOf(address: string): Promise<Account> {
  const { person } = await makeAccount({ address, name: "", formats: ["smime"] }, { now: AT, random: randomOctets })
  const root = person.root.certificate
  return { address, name: "", formats: ["smime"], root, intermediate: root, keys: [], profile: "", addedAt: AT }
}

beforeAll(async () => {
  folder = await temporaryFolder()
})
afterAll(async () => {
  await folder?.[Symbol.asyncDispose]()
})
let turn = 0
beforeEach(() => {
  accounts = new Map(made)
  clock = AT
  authorities = new StandInAuthorities(folder.file(`turn-${turn++}`))
  first = add(false)
  standIns = anew()
})

const anew = () =>
  new StandIns(
    authorities,
    (address) => accounts.get(address) ?? null,
    () => clock,
  )

function add(replaces: boolean): StandInAuthority {
  const { authority, secret } = makeStandInAuthority("Gateway", ["example.test"], clock)
  return authorities.add(authority, secret, replaces)
}

const certificateOf = (account: string, recipient = BOB, from = standIns) => {
  const found = from.of(account, recipient)
  if (found === null) throw new Error("none is given out")
  return readCertificate(found.certificate)
}
const byIssuer = (account: string, recipient = BOB): Addressee => ({
  kind: "issuer",
  ...certificateOf(account, recipient).identity,
})
const byKey = (account: string): Addressee => ({
  kind: "key",
  keyIdentifier: certificateOf(account).identity.subjectKeyIdentifier ?? new Uint8Array(),
})
const OTHERS: Addressee = {
  kind: "issuer",
  issuer: made.get(ALICE)?.root ?? new Uint8Array(),
  serial: Uint8Array.of(7),
}

describe("what is encrypted to a stand-in", () => {
  const rows: readonly (readonly [what: string, to: () => readonly Addressee[], kind: string])[] = [
    ["of the account's for the recipient: opens", () => [byIssuer(ALICE)], "key"],
    ["and to others: opens", () => [OTHERS, byIssuer(MALLORY), byIssuer(ALICE)], "key"],
    ["named by its key identifier: opens", () => [byKey(ALICE)], "key"],
    [
      "of the account's for somebody else: is left alone",
      () => [OTHERS, byIssuer(ALICE, parseAddress("carol@x.test"))],
      "none",
    ],
    ["of another account: is refused", () => [OTHERS, byIssuer(MALLORY)], "refused"],
    ["of another account, by key identifier: is left alone", () => [byKey(MALLORY)], "none"],
    ["of nobody here: is left alone", () => [OTHERS], "none"],
    ["of an authority that is not known: is refused", () => [foreignAddressee()], "refused"],
  ]
  for (const [what, to, kind] of rows) test(what, () => expect(standIns.find(to(), ALICE, BOB).kind).toBe(kind))

  test("opens with the key that belongs to the certificate, in whatever case the recipient is written", () => {
    const found = standIns.find([byIssuer(ALICE)], ALICE, parseAddress("Bob@PARTNER.test"))
    expect(found.kind === "key" && p256PublicPoint(found.key.scalar)).toEqual(certificateOf(ALICE).point)
  })

  test("opens in another process and a later period", () => {
    const addressee = byIssuer(ALICE)
    clock = new Date(AT.getTime() + 5 * STAND_IN_PERIOD_MS)
    expect(anew().find([addressee], ALICE, BOB).kind).toBe("key")
  })

  test("is refused when the account is gone, and not opened for a later one of the same address", async () => {
    const addressee = byIssuer(ALICE)
    accounts.delete(ALICE)
    expect(standIns.find([addressee], ALICE, BOB)).toEqual({
      kind: "refused",
      because: `${ALICE} has no account here any more`,
    })
    accounts.set(ALICE, await accountOf(ALICE))
    expect(standIns.find([addressee], ALICE, BOB).kind).toBe("refused")
  })
})

describe("authorities", () => {
  test("one that was replaced makes nothing more, and still opens; its successor's are others", () => {
    const addressee = byIssuer(ALICE)
    const before = certificateOf(ALICE)
    clock = new Date(AT.getTime() + 1)
    add(true)
    expect(authorities.all().map(standInState)).toEqual(["retired", "active"])
    expect(standIns.find([addressee], ALICE, BOB).kind).toBe("key")
    expect(certificateOf(ALICE).identity.issuer).not.toEqual(before.identity.issuer)
    expect(certificateOf(ALICE).point).not.toEqual(before.point)
  })

  test("there is one at a time, unless it is replaced", () => {
    expect(() => add(false)).toThrow(expect.toSatisfy((error) => hasCode(error, "STAND_IN_STATE")))
  })

  test("what one that was destroyed has made is known for what it is: refused for its pair, left alone for others of the account", () => {
    const addressee = byIssuer(ALICE)
    authorities.destroy(first.id, AT)
    expect(standIns.find([addressee], ALICE, BOB)).toEqual({
      kind: "refused",
      because: `the key of the certificate that it is encrypted to was destroyed (${first.id})`,
    })
    expect(standIns.find([addressee], ALICE, parseAddress("carol@x.test")).kind).toBe("none")
    expect(standIns.of(ALICE, BOB)).toBeNull()
    expect(() => authorities.secret(first)).toThrow(expect.toSatisfy((error) => hasCode(error, "STAND_IN_UNUSABLE")))
  })

  test("one that has ended makes nothing more", () => {
    clock = new Date("2037-01-01T00:00:00Z")
    expect(standIns.of(ALICE, BOB)).toBeNull()
  })

  const broken: readonly (readonly [
    what: string,
    spoil: (path: string) => void,
    code: "STAND_IN_UNUSABLE" | "STAND_INS_CORRUPT",
  ])[] = [
    ["a secret that others can read", (path) => chmodSync(`${path}/${first.id}.key`, 0o640), "STAND_IN_UNUSABLE"],
    ["a secret that is damaged", (path) => writeFileSync(`${path}/${first.id}.key`, "short"), "STAND_IN_UNUSABLE"],
    ["a list that cannot be read", (path) => writeFileSync(`${path}/keys.json`, "{}"), "STAND_INS_CORRUPT"],
  ]
  for (const [what, spoil, code] of broken)
    test(`${what} is a fault of ours, never "not encrypted to us"`, () => {
      const addressee = byIssuer(ALICE)
      spoil(folder.file(`turn-${turn - 1}`))
      expect(() => anew().find([addressee], ALICE, BOB)).toThrow(expect.toSatisfy((error) => hasCode(error, code)))
    })

  test("an address that no certificate can name gets none, nor does somebody without an account", () => {
    expect(standIns.of(ALICE, parseAddress("bjørn@partner.test"))).toBeNull()
    expect(standIns.of("nobody@example.test", BOB)).toBeNull()
  })
})

function foreignAddressee(): Addressee {
  const other = new StandInAuthorities(folder.file(`other-${turn}`))
  const { authority, secret } = makeStandInAuthority("Gateway", ["example.test"], AT)
  other.add(authority, secret, false)
  const theirs = new StandIns(
    other,
    (address) => accounts.get(address) ?? null,
    () => AT,
  )
  return { kind: "issuer", ...certificateOf(ALICE, BOB, theirs).identity }
}
