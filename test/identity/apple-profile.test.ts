import { writeFile } from "node:fs/promises"
import { beforeAll, describe, expect, test } from "vitest"
import { pemDecode, pemEncode } from "../../src/crypto/cms/pem.ts"
import { p256Pkcs8 } from "../../src/crypto/primitives/p256.ts"
import { appleProfile } from "../../src/identity/apple-profile.ts"
import type { MadeDevice } from "../../src/identity/device.ts"
import { makeServerTls } from "../../src/identity/server.ts"
import { urlUuid } from "../../src/identity/uuid.ts"
import { mustRun, peer, temporaryFolder } from "../harness/peers.ts"
import { makeAlice, makeFullDevice, makingAt } from "./people.ts"

/** A profile as Python's plistlib reads it, with data as base64. */
interface Profile extends Payload {
  readonly PayloadContent: readonly Payload[]
}
type Payload = Readonly<Record<string, unknown>>

const servers = { imap: { host: "mail.example.test", port: 993 }, smtp: { host: "mail.example.test", port: 465 } }
const [authority = new Uint8Array()] = pemDecode("CERTIFICATE", makeServerTls(["example.test"], makingAt()).authority)
const READ = `
import sys, json, plistlib, base64
documents = [plistlib.loads(base64.b64decode(line)) for line in sys.stdin]
print(json.dumps(documents, default=lambda octets: base64.b64encode(octets).decode()))
`

let phone: MadeDevice
let plain: Profile
let trusting: Profile
let again: Profile
let tablets: Profile
let withoutSmime: Profile

beforeAll(async () => {
  const alice = await makeAlice("smime")
  phone = await makeFullDevice(alice.person, "phone")
  // Of another making: nothing but address and name is the same.
  const second = await makeFullDevice((await makeAlice("smime")).person, "phone")
  const tablet = await makeFullDevice(alice.person, "tablet")
  const bare = await makeFullDevice((await makeAlice("openpgp")).person, "phone")
  const documents = await Promise.all([
    opened(phone, null),
    opened(phone, authority),
    opened(second, null),
    opened(tablet, null),
    opened(bare, null),
  ])
  const input = documents.map((octets) => `${Buffer.from(octets).toString("base64")}\n`).join("")
  const read = JSON.parse(Buffer.from(await mustRun("python3", ["-c", READ], { input })).toString())
  ;[plain, trusting, again, tablets, withoutSmime] = read
})

/** The property list inside the signature, which must lead to the personal root. */
async function opened({ person, device }: MadeDevice, serverAuthority: Uint8Array | null): Promise<Uint8Array> {
  await using folder = await temporaryFolder()
  await writeFile(folder.file("profile"), appleProfile(person, device, servers, serverAuthority))
  await writeFile(folder.file("root.pem"), pemEncode("CERTIFICATE", person.root.certificate))
  const files = ["-in", folder.file("profile"), "-CAfile", folder.file("root.pem")]
  return await mustRun("openssl", ["cms", "-verify", "-inform", "DER", "-binary", ...files])
}

const octets = (payload: Payload | undefined): Buffer => Buffer.from(String(payload?.["PayloadContent"]), "base64")
const ofType = (profile: Profile, type: string): readonly Payload[] =>
  profile.PayloadContent.filter((payload) => payload["PayloadType"] === type)
const hex = (some: Uint8Array | null | undefined): string => Buffer.from(some ?? []).toString("hex")
const namesOf = (profile: Profile): readonly unknown[] =>
  [profile, ...profile.PayloadContent].flatMap((part) => [part["PayloadIdentifier"], part["PayloadUUID"]])

describe.skipIf(!peer("openssl") || !peer("python3"))("a configuration profile for Apple's systems", () => {
  test("is signed by the device, and says who it is for", () => {
    expect(plain).toMatchObject({
      PayloadType: "Configuration",
      PayloadVersion: 1,
      PayloadDisplayName: "alice@example.test (phone)",
      PayloadOrganization: "example.test",
      PayloadRemovalDisallowed: false,
      PayloadIdentifier: expect.stringMatching(/^test\.example\.postern\.[0-9A-F-]{36}$/),
      PayloadDescription: expect.stringContaining('"phone"'),
    })
    const parts = plain.PayloadContent
    expect(parts.map((part) => part["PayloadType"])).toEqual([
      "com.apple.security.root",
      "com.apple.security.pkcs1",
      "com.apple.security.pkcs12",
      "com.apple.security.pkcs12",
      "com.apple.mail.managed",
    ])
    for (const name of ["PayloadUUID", "PayloadIdentifier"])
      expect(new Set([plain, ...parts].map((part) => part[name])).size).toBe(parts.length + 1)
  })

  test("sets up IMAP and submission over TLS with the device's password, and names its S/MIME keys", () => {
    const [decryption, signing] = ofType(plain, "com.apple.security.pkcs12")
    const [mail] = ofType(plain, "com.apple.mail.managed")
    expect(mail).toMatchObject({
      EmailAccountType: "EmailTypeIMAP",
      EmailAddress: "alice@example.test",
      EmailAccountName: "Alice Example",
      IncomingMailServerHostName: "mail.example.test",
      IncomingMailServerPortNumber: 993,
      IncomingMailServerUseSSL: true,
      IncomingMailServerUsername: "alice@example.test",
      IncomingPassword: phone.device.password,
      OutgoingMailServerHostName: "mail.example.test",
      OutgoingMailServerPortNumber: 465,
      OutgoingMailServerUseSSL: true,
      OutgoingPassword: phone.device.password,
      SMIMEEncryptionEnabled: true,
      SMIMEEncryptByDefault: false,
      SMIMEEncryptionCertificateUUID: decryption?.["PayloadUUID"],
      SMIMESigningEnabled: false,
      SMIMESigningCertificateUUID: signing?.["PayloadUUID"],
    })
  })

  test("each PKCS#12 has one key and one certificate, in the form that old systems read", async () => {
    const identities = ofType(plain, "com.apple.security.pkcs12")
    const pairs = [phone.device.decryption, phone.device.signing]
    await using folder = await temporaryFolder()
    for (const [index, pair] of pairs.entries()) {
      await writeFile(folder.file("identity.p12"), octets(identities[index]))
      const args = ["pkcs12", "-legacy", "-noenc", "-info", "-in", folder.file("identity.p12")]
      const password = `pass:${identities[index]?.["Password"]}`
      const text = Buffer.from(await mustRun("openssl", [...args, "-passin", password])).toString()
      expect(pemDecode("CERTIFICATE", text).map(hex)).toEqual([hex(pair?.certificate)])
      expect(pemDecode("PRIVATE KEY", text).map(hex)).toEqual([hex(pair && p256Pkcs8(pair.scalar))])
    }
  })

  test("brings the personal root and intermediate, and the server's authority only when asked", () => {
    const { root, intermediate } = phone.person
    const roots = (profile: Profile) => ofType(profile, "com.apple.security.root").map(octets).map(hex)
    expect(roots(plain)).toEqual([hex(root.certificate)])
    expect(roots(trusting)).toEqual([hex(authority), hex(root.certificate)])
    const [chain] = ofType(trusting, "com.apple.security.pkcs1")
    expect(hex(octets(chain))).toBe(hex(intermediate.certificate))
  })

  test("a new profile of the same device's name has the same names and takes the old one's place", () => {
    expect(namesOf(again)).toEqual(namesOf(plain))
    expect(namesOf(tablets).filter((name) => namesOf(plain).includes(name))).toEqual([])
  })

  test("an account without S/MIME gets mail and a signing key", () => {
    const types = withoutSmime.PayloadContent.map((payload) => String(payload["PayloadType"]))
    expect(types.filter((type) => type === "com.apple.security.pkcs12")).toHaveLength(1)
    expect(Object.keys(ofType(withoutSmime, "com.apple.mail.managed")[0] ?? {}).join()).not.toContain("SMIMEEncrypt")
  })
})

test("names made of URLs are those that everybody makes (RFC 9562 §5.5)", () => {
  // Python's uuid.uuid5(uuid.NAMESPACE_URL, …)
  expect(urlUuid("https://www.example.com/")).toBe("3D3ED9D2-AA3D-5FA6-90E8-ED662E90F559")
})
