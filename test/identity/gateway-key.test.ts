import { chmodSync, writeFileSync } from "node:fs"
import fc from "fast-check"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { verifyP256 } from "../../src/crypto/primitives/sign.ts"
import { GatewayError } from "../../src/errors.ts"
import { makeAccount, renewAccount } from "../../src/identity/account.ts"
import { applyRequest } from "../../src/identity/apply.ts"
import { signerEndings } from "../../src/identity/endings.ts"
import {
  certifyGatewayKey,
  formatKeyToCertify,
  type MadeGatewayKey,
  makeOpenPgpGatewayKey,
  makeSmimeGatewayKey,
  readKeyToCertify,
  removeGatewayKey,
} from "../../src/identity/gateway-key.ts"
import { GatewaySigners, SIGNING_MARGIN_MS } from "../../src/identity/gateway-signers.ts"
import type { Person } from "../../src/identity/person.ts"
import type { Format } from "../../src/store/account.ts"
import { GatewayKeys } from "../../src/store/gateway-keys.ts"
import { People } from "../../src/store/people.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { makeAlice, makingAt, NOW } from "./people.ts"

const ALICE = "alice@example.test"
const DAY_MS = 86_400_000
const dayAfter = (days: number): Date => new Date(NOW.getTime() + days * DAY_MS)

/** A server with Alice on it. */
async function server() {
  const folder = await temporaryFolder()
  const database = openEmbeddedState(folder.file("data"))
  const recryptionKeys = new RecryptionKeys(database, folder.file("secrets"))
  const people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys })
  const gatewayKeys = new GatewayKeys(folder.file("signing"))
  let now = NOW
  const { person, request } = await makeAlice("smime", "openpgp")
  const apply = (text: string, at = NOW) => applyRequest({ people, gatewayKeys, database }, text, at)
  apply(request)
  const signers = new GatewaySigners(
    gatewayKeys,
    (address) => people.account(address),
    () => now,
  )
  return {
    folder,
    people,
    gatewayKeys,
    apply,
    person,
    /** Made and not certified. */
    async make(format: Format, at = NOW): Promise<MadeGatewayKey> {
      const certificate = people.account(ALICE)?.keys.find((key) => key.format === "openpgp")?.certificate
      const made =
        format === "smime"
          ? makeSmimeGatewayKey(ALICE, makingAt(at))
          : await makeOpenPgpGatewayKey(ALICE, certificate ?? new Uint8Array(0), makingAt(at))
      const { id, publicKey } = made.key
      gatewayKeys.add({ account: ALICE, id, format, publicKey, madeAt: at }, made.secret)
      return made
    },
    /** Who signs what was accepted on a day, said on another. */
    signing(format: Format | null, accepted: Date, said = accepted): string {
      now = said
      const found = signers.of(ALICE, format, accepted)
      return found.kind === "none" ? found.because : found.format
    },
    signer: (format: Format) => signers.of(ALICE, format, NOW),
    async [Symbol.asyncDispose]() {
      database.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

let there: Awaited<ReturnType<typeof server>>
beforeEach(async () => void (there = await server()))
afterEach(() => there[Symbol.asyncDispose]())

const refused = (act: () => unknown): string => {
  try {
    act()
    return "none"
  } catch (error) {
    return error instanceof GatewayError ? `${error.code} ${error.message}` : String(error)
  }
}
const certified = async (person: Person, made: MadeGatewayKey, at = NOW) =>
  certifyGatewayKey(person, made.key, makingAt(at))

describe.each<Format>(["smime", "openpgp"])("a gateway key for %s", (format) => {
  test("signs when its owner has certified it, and not in its last two weeks", async () => {
    const name = format === "smime" ? "S/MIME" : "OpenPGP"
    expect(there.signing(format, NOW)).toBe(`${ALICE} has no ${name} key at this gateway`)
    const made = await there.make(format)
    expect(there.signing(format, NOW)).toBe(`${ALICE} has no ${name} key at this gateway`)
    there.apply((await certified(there.person, made)).request)
    expect(there.signing(format, NOW)).toBe(format)
    expect(there.signing(null, NOW)).toBe(format)
    const margin = SIGNING_MARGIN_MS / DAY_MS
    expect(there.signing(format, NOW, dayAfter(729 - margin))).toBe(format)
    expect(there.signing(format, NOW, dayAfter(731 - margin))).toMatch(
      /^the .* key of alice@.* at this gateway ends on 2028-/,
    )
  })

  test("that signs has an end, which is told in time; one that waits, or was retired or revoked, has none", async () => {
    const endings = () => {
      const account = there.people.account(ALICE)
      return account === null ? null : signerEndings(account, there.gatewayKeys.of(ALICE))
    }
    const made = await there.make(format)
    expect(endings()).toEqual([])
    const { person, request } = await certified(there.person, made)
    there.apply(request)
    const about = `gateway key of ${ALICE} (${format})`
    expect(endings()).toMatchObject([
      { about, owner: ALICE, remedy: `postern gateway-key add ${ALICE} --format ${format}` },
    ])
    const [ending] = endings() ?? []
    expect(ending?.fingerprint).toMatch(format === "smime" ? /^[0-9a-f]{64}$/ : new RegExp(`${made.key.id}$`))
    expect(ending && [729, 731].map((days) => ending.until > dayAfter(days))).toEqual([true, false])
    there.apply((await removeGatewayKey(person, made.key.id, "retired", makingAt())).request)
    expect(endings()).toEqual([])
  })

  test("that waits for no certificate, or comes with another's, is not taken", async () => {
    const made = await there.make(format)
    const { person } = await makeAlice("smime", "openpgp")
    expect(refused(() => there.apply("{}"))).toMatch(/^REQUEST_INVALID/)
    const stranger = await certifyGatewayKey(person, (await other(format, person)).key, makingAt())
    expect(refused(() => there.apply(stranger.request))).toMatch(/^REQUEST_INVALID/)
    const { request } = await certified(there.person, made)
    there.gatewayKeys.remove(ALICE, made.key.id)
    expect(refused(() => there.apply(request))).toMatch(/^GATEWAY_KEY_UNKNOWN/)
  })

  test("whose file others can read, or that is damaged, is said to be so", async () => {
    const made = await there.make(format)
    there.apply((await certified(there.person, made)).request)
    const file = there.folder.file(`signing/alice%40example.test/${made.key.id}.key`)
    chmodSync(file, 0o644)
    expect(refused(() => there.signing(format, NOW))).toMatch(/^GATEWAY_KEY_UNUSABLE .*others can use it \(mode 644\)/)
    chmodSync(file, 0o600)
    writeFileSync(file, "short")
    expect(refused(() => there.signing(format, NOW))).toMatch(/^GATEWAY_KEY_UNUSABLE .*is not 32 octets/)
    writeFileSync(there.folder.file("signing/alice%40example.test/keys.json"), "{")
    expect(refused(() => there.signing(format, NOW))).toMatch(/^GATEWAY_KEYS_CORRUPT/)
  })

  test("that is for somebody else is not certified", async () => {
    const { person } = await makeAccount(
      { address: "bob@example.test", name: "Bob", formats: ["smime", "openpgp"] },
      makingAt(),
    )
    await expect(certifyGatewayKey(person, (await there.make(format)).key, makingAt())).rejects.toThrow(/is for alice@/)
  })

  test("comes through its file, and a changed file is refused", async () => {
    const { key } = await there.make(format)
    const text = formatKeyToCertify(key)
    expect(readKeyToCertify(text)).toEqual({
      ...key,
      publicKey: new Uint8Array(key.publicKey),
      proof: new Uint8Array(key.proof),
    })
    const changed = JSON.parse(text)
    expect(refused(() => readKeyToCertify(JSON.stringify({ ...changed, id: "0".repeat(40) })))).toMatch(
      /REQUEST_INVALID/,
    )
    expect(refused(() => readKeyToCertify(" ".repeat(10_001)))).toMatch(/REQUEST_INVALID/)
    const proof = Buffer.from(key.proof).map((octet, at) => (at === key.proof.length - 1 ? octet ^ 1 : octet))
    await expect(
      (async () =>
        certifyGatewayKey(there.person, readKeyToCertify(formatKeyToCertify({ ...key, proof })), makingAt()))(),
    ).rejects.toThrow(/is not of whoever|is not signed for/)
  })
})

test("a successor signs what is accepted from then on; what was accepted before is still the old one's", async () => {
  const first = await there.make("smime")
  there.apply((await certified(there.person, first)).request)
  const second = await there.make("smime", dayAfter(10))
  there.apply((await certified(there.person, second, dayAfter(10))).request, dayAfter(10))
  expect(there.gatewayKeys.of(ALICE).map(({ activeAt, retiredAt }) => [activeAt, retiredAt])).toEqual([
    [NOW, dayAfter(10)],
    [dayAfter(10), null],
  ])
  there.gatewayKeys.remove(ALICE, first.key.id)
  expect(there.signing("smime", NOW, dayAfter(11))).toBe("smime")
})

test("what is signed again is the same: a message that is tried again must not become another one", async () => {
  there.apply((await certified(there.person, await there.make("smime"))).request)
  const found = there.signer("smime")
  if (found.kind === "none" || found.format !== "smime") throw new Error("no signer")
  const { certificate, key } = found.signer
  const octets = new TextEncoder().encode("attributes")
  const [first, second] = await Promise.all([key.sign(octets), key.sign(octets)])
  expect(second).toEqual(first)
  expect(verifyP256(certificate.point ?? new Uint8Array(0), octets, first, "der")).toBe(true)
})

test("a renewed account's keys go on; those of an account that was made anew sign nothing", async () => {
  there.apply((await certified(there.person, await there.make("smime"))).request)
  there.apply((await renewAccount(there.person, makingAt(dayAfter(1)))).request, dayAfter(1))
  expect(there.signing("smime", dayAfter(1))).toBe("smime")
  there.people.removeAccount(ALICE)
  expect(there.signing("smime", dayAfter(1))).toBe(`${ALICE} has no account here any more`)
  there.apply((await makeAlice("smime", "openpgp")).request)
  expect(there.signing("smime", dayAfter(1))).toMatch(/at this gateway may not sign: /)
})

test("any text is a key to certify, or is refused", () => {
  const words = fc.record({
    type: fc.constantFrom("postern-gateway-key", "x"),
    version: fc.constantFrom(1, 2),
    address: fc.oneof(fc.constant(ALICE), fc.string()),
    id: fc.string(),
    format: fc.constantFrom("smime", "openpgp", "x"),
    publicKey: fc.base64String(),
    proof: fc.base64String(),
  })
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        words.map((value) => JSON.stringify(value)),
      ),
      (text) => {
        expect(refused(() => readKeyToCertify(text))).toMatch(
          /^(?:REQUEST_INVALID|ADDRESS_SYNTAX|OPENPGP_MALFORMED|OPENPGP_UNSUPPORTED) /,
        )
      },
    ),
  )
})

/** A key that another server has made for an account of the same name. */
async function other(format: Format, person: Person): Promise<MadeGatewayKey> {
  return format === "smime"
    ? makeSmimeGatewayKey(ALICE, makingAt())
    : makeOpenPgpGatewayKey(ALICE, person.openpgp?.certificate ?? new Uint8Array(0), makingAt())
}
