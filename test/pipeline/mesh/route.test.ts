import { describe, expect, test } from "vitest"
import { makeAccountKey } from "../../../src/crypto/openpgp/account-key.ts"
import { type MailProfileContent, signMailProfile, verifyMailProfile } from "../../../src/identity/mail-profile.ts"
import { routeOf } from "../../../src/pipeline/mesh/route.ts"
import type { UsableKey } from "../../../src/profiles/key.ts"
import { makePerson } from "../../crypto/cms/alice.ts"
import { bobCertificate, NOW } from "../../mesh/mail-world.ts"
import { account, CREATED, service } from "../../mesh/people.ts"
import { bobRecipient } from "./world.ts"

const BOB = "bob@two.example"
const serviceTwo = service(70)
const bob = account(BOB, 2, serviceTwo.profile.udf)
const person = makePerson(BOB, "Bob")
const openPgp = await makeAccountKey({ name: "", address: BOB, createdAt: CREATED })
const wish = { prefer: "encrypt", require: null } as const
const smtp = (encrypt: "S/MIME" | "OpenPGP") =>
  ({ protocol: "SMTP", encrypt, ...wish, key: "https://two.example/k" }) as const
const mesh = {
  protocol: "Mesh",
  ...wish,
  service: "https://mail.two.example/.well-known/mmm/",
  deviceUdf: serviceTwo.profile.udf,
} as const

function profileWith(connection: MailProfileContent["connection"]): Uint8Array {
  const owner = { profile: bob.profile, administrator: bob.administrator }
  return signMailProfile(owner, { name: "Bob", root: person.root.der, issuedAt: NOW, connection }, person.rootScalar)
}

const key = (format: UsableKey["format"], octets: Uint8Array, lineage = "b", source = "profile") =>
  ({ format, octets, lineage, source }) as unknown as UsableKey
const smime = key("smime", bobCertificate.der)
const pgp = key("openpgp", openPgp.certificate)

function route(connection: MailProfileContent["connection"], keys: readonly UsableKey[]) {
  const own = key("mesh", profileWith(connection))
  return routeOf(own, { keys: [own, ...keys] }, verifyMailProfile, NOW)
}

describe("what a mail for the Mesh is sealed to", () => {
  test("the certificate, where S/MIME is the first way by SMTP", () => {
    for (const first of [[mesh, smtp("S/MIME"), smtp("OpenPGP")], [mesh]])
      expect(route(first, [pgp, smime])).toMatchObject({ certificate: { digest: bobRecipient.digest } })
  })

  test("the OpenPGP key, where OpenPGP is", () => {
    for (const first of [
      [mesh, smtp("OpenPGP"), smtp("S/MIME")],
      [smtp("OpenPGP"), mesh],
    ])
      expect(route(first, [smime, pgp])).toMatchObject({
        certificate: null,
        openPgp: { keyId: openPgp.encryption.keyId },
      })
  })

  test.each([
    ["no key of the format that he reads", [smtp("OpenPGP"), mesh], [smime]],
    ["one of another person", [smtp("OpenPGP"), mesh], [key("openpgp", openPgp.certificate, "other")]],
    ["one of another source", [smtp("S/MIME"), mesh], [key("smime", bobCertificate.der, "b", "wkd")]],
    ["no service", [smtp("S/MIME")], [smime]],
  ] as const)("%s: it does not go over the Mesh", (_, connection, keys) => {
    expect(route(connection, keys)).toBeNull()
  })
})
