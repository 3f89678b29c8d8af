import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { minimalCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run } from "../harness/peers.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { submitBy } from "../harness/wire.ts"

const ALICE = "alice@example.test"
const CAROL = "carol@example.test"
const CANARY = "canary-0815-4711"
const RULES = `
[[policy.rules]]
name = "contracts"
to = ["*@signed.test", "*@sealed.test"]
sign = "require"
[[policy.rules]]
to = ["*@maybe.test"]
sign = "prefer"
`

type Device = DeviceSettings & { readonly folder: string }

let gateway: Instance
let laptop: Device
let phone: Device
let hop: SmtpSink

beforeAll(async () => {
  hop = await openSmtpSink({ server: { hideDSN: true } })
  gateway = await Instance.create()
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
  writeFileSync(gateway.configuration, `${readFileSync(gateway.configuration, "utf8")}${RULES}`)
  await gateway.must("account", "add", ALICE, "--name", "Alice Example")
  await gateway.must("alias", "add", "sales@example.test", ALICE)
  laptop = await gateway.device(ALICE, "laptop")
  await gateway.must("account", "add", CAROL, "--format", "openpgp")
  phone = await gateway.device(CAROL, "phone")
  const { root } = JSON.parse(await gateway.must("account", "show", ALICE, "--json")) as { root: string }
  writeFileSync(at("alice-root.pem"), root)
  const subject = ["-subj", "/CN=Friend", "-addext", "subjectAltName=email:friend@sealed.test"]
  const usage = ["-addext", "keyUsage=keyEncipherment", "-addext", "basicConstraints=CA:FALSE"]
  const files = ["-keyout", at("friend.key"), "-out", at("friend.pem")]
  await mustRun("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...subject, ...usage, ...files])
  await gateway.must("certificate", "add", "friend@sealed.test", at("friend.pem"))
  await gateway.serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await hop?.[Symbol.asyncDispose]()
})

const at = (name: string): string => join(gateway.folder, name)
const listed = async (of = ALICE) => JSON.parse(await gateway.must("gateway-key", "list", of, "--json"))
const queued = async () => JSON.parse(await gateway.must("queue", "list", "--json"))
const relayed = (recipient: string, subject: string) =>
  eventually(`mail for ${recipient}`, () =>
    hop.messages.find(
      ({ recipients, octets }) => recipients.includes(recipient) && octets.includes(`Subject: ${subject}\r\n`),
    ),
  )

async function submit(
  to: string,
  subject: string,
  { by = laptop, from, head = "" }: { readonly by?: Device; readonly from?: string; readonly head?: string } = {},
) {
  const author = from ?? by.username
  const message = `From: ${author}\r\nTo: ${to}\r\nSubject: ${subject}\r\n${head}\r\n${CANARY}\r\n`
  expect(await submitBy(by, [to], Buffer.from(message))).toMatch(/^250 /)
}

/** What OpenSSL says of a signed message, with Alice's personal root as all that it believes. */
async function verified(message: Uint8Array): Promise<{ readonly content: string; readonly signer: string }> {
  writeFileSync(at("signed.eml"), message)
  const files = ["-in", at("signed.eml"), "-CAfile", at("alice-root.pem"), "-signer", at("signer.pem")]
  const content = await mustRun("openssl", ["cms", "-verify", "-purpose", "smimesign", ...files])
  const shown = ["-in", at("signer.pem"), "-noout", "-subject", "-ext", "keyUsage,extendedKeyUsage,subjectAltName"]
  const signer = await mustRun("openssl", ["x509", ...shown])
  return { content: Buffer.from(content).toString(), signer: Buffer.from(signer).toString() }
}

/** The first key's id. */
let first: string

describe("a gateway key", () => {
  test("without one, what must be signed is held, and what should be goes unsigned", async () => {
    await submit("bob@signed.test", "must")
    await submit("bob@maybe.test", "should")
    expect((await relayed("bob@maybe.test", "should")).octets.toString()).not.toContain("multipart/signed")
    const held = await eventually("a held message", async () =>
      (await queued()).find(({ state }: { state: string }) => state === "held"),
    )
    expect(held.holdReason).toBe(`it must be signed, but ${ALICE} has no S/MIME key at this gateway (rule "contracts")`)
  })

  test("is made by the server and certified by the keyring; the held message leaves, and OpenSSL verifies it", async () => {
    expect(await gateway.must("gateway-key", "add", ALICE)).toMatch(
      /^gateway key ([0-9a-f]{40}) of alice@example\.test: made, smime\nfingerprint: M[A-Z2-7-]+\n/,
    )
    const [key] = await listed()
    first = key.id
    expect(key).toMatchObject({ format: "smime", state: "active", notAfter: expect.stringMatching(/^2/) })
    expect(await gateway.must("account", "show", ALICE)).toContain(`smime gateway key ${first}, signs for it here`)
    const [held] = await queued()
    await gateway.must("queue", "release", held.id)
    const { octets } = await relayed("bob@signed.test", "must")
    expect(octets.toString()).toMatch(/multipart\/signed;[\s\S]*protocol="application\/pkcs7-signature"/)
    const { content, signer } = await verified(octets)
    expect(content).toContain(`\r\n${CANARY}\r\n`)
    expect(signer).toMatch(/CN ?= ?Alice Example via gateway\n/)
    expect(signer).toContain(`email:${ALICE}\n`)
    expect(signer).toMatch(/Key Usage: critical\n\s+Digital Signature\n/)
    expect(signer).toMatch(/Extended Key Usage: \n\s+E-mail Protection\n/)
  })

  test("its secret is for its owner only, and is none of the keyring's", async () => {
    const folder = at("secrets/signing/alice%40example.test")
    expect(readdirSync(folder).toSorted()).toEqual([`${first}.key`, "keys.json"].toSorted())
    expect([statSync(folder).mode & 0o777, statSync(join(folder, `${first}.key`)).mode & 0o777]).toEqual([0o700, 0o600])
    const secret = readFileSync(join(folder, `${first}.key`))
    expect(readFileSync(at(`keyring/${ALICE}.json`), "utf8")).not.toContain(secret.toString("base64"))
    expect(readFileSync(join(folder, "keys.json"), "utf8")).not.toContain(secret.toString("base64"))
  })

  test("signs within the encryption: who opens the message finds the signature", async () => {
    await submit("friend@sealed.test", "sealed")
    const { octets } = await relayed("friend@sealed.test", "sealed")
    expect(octets.toString()).toMatch(/application\/pkcs7-mime; smime-type=enveloped-data/)
    writeFileSync(at("sealed.eml"), octets)
    const opened = await mustRun("openssl", [
      ...["cms", "-decrypt", "-in", at("sealed.eml"), "-recip", at("friend.pem"), "-inkey", at("friend.key")],
    ])
    expect((await verified(opened)).content).toContain(CANARY)
  })

  const unsigned: readonly (readonly [what: string, subject: string, given: Parameters<typeof submit>[2]])[] = [
    ["what its author has signed", "signed", { head: 'Content-Type: multipart/signed; boundary="b"\r\n' }],
    ["what is written under an alias", "alias", { from: "sales@example.test" }],
    ["what has two authors", "two", { from: `${ALICE}, sales@example.test` }],
  ]
  for (const [what, subject, given] of unsigned)
    test(`does not sign ${what}`, async () => {
      await submit("bob@maybe.test", subject, given)
      expect((await relayed("bob@maybe.test", subject)).octets.toString()).not.toContain("pkcs7-signature")
    })

  test("gives way to its successor, which signs from then on", async () => {
    await gateway.must("gateway-key", "add", ALICE)
    expect((await listed()).map(({ state }: { state: string }) => state)).toEqual(["retired", "active"])
    await submit("bob@signed.test", "later")
    await verified((await relayed("bob@signed.test", "later")).octets)
    const point = await mustRun("openssl", ["x509", "-in", at("signer.pem"), "-noout", "-ext", "subjectKeyIdentifier"])
    const [, { id }] = await listed()
    expect(Buffer.from(point).toString().replaceAll(":", "").toLowerCase()).toContain(id)
  })

  test("that others could read does not sign: the message waits, and check says why", async () => {
    const [, { id }] = await listed()
    const file = at(`secrets/signing/alice%40example.test/${id}.key`)
    chmodSync(file, 0o640)
    // Whoever has it in memory already goes on with it; the file is looked at when it is loaded.
    const { code, stdout } = await gateway.postern("check", "--no-dns")
    expect(code).toBe(1)
    expect(stdout.toString()).toMatch(/wrong {2}gateway key of alice@example\.test: .*others can use it \(mode 640\)/)
    chmodSync(file, 0o600)
  })

  test("is destroyed when it is removed, and then nothing signs", async () => {
    for (const { id } of await listed()) await gateway.must("gateway-key", "remove", ALICE, id)
    expect(readdirSync(at("secrets/signing/alice%40example.test"))).toEqual(["keys.json"])
    await submit("bob@maybe.test", "after")
    expect((await relayed("bob@maybe.test", "after")).octets.toString()).not.toContain("pkcs7-signature")
  })

  test("goes with its account", async () => {
    await gateway.must("gateway-key", "add", ALICE)
    await gateway.must("account", "remove", ALICE)
    expect(existsSync(at("secrets/signing/alice%40example.test"))).toBe(false)
  })
})

describe("an OpenPGP gateway key", () => {
  let id: string

  test("is a subkey of the account's certificate, published although those of devices are not", async () => {
    await gateway.must("gateway-key", "add", CAROL)
    const [key] = await listed(CAROL)
    id = key.id
    expect(key).toMatchObject({ format: "openpgp", state: "active", notAfter: expect.stringMatching(/^2/) })
    writeFileSync(at("carol.pgp"), minimalCertificate(await certificateOf(CAROL)))
    await mustRun("gpg", [...GPG, "--import", at("carol.pgp")], home())
    const colons = await mustRun("gpg", [...GPG, "--with-colons", "--list-keys", CAROL], home())
    const subkeys =
      Buffer.from(colons)
        .toString()
        .match(/^sub:.*$/gm) ?? []
    expect(
      subkeys.map((line) =>
        line
          .split(":")
          .slice(1, 12)
          .filter((_, index) => [0, 10].includes(index)),
      ),
    ).toEqual([
      ["-", "e"],
      ["-", "s"],
    ])
    expect(subkeys[1]?.toLowerCase()).toContain(id)
  })

  test("signs what GnuPG verifies", async () => {
    await submit("bob@signed.test", "pgp", { by: phone })
    const { octets } = await relayed("bob@signed.test", "pgp")
    const text = octets.toString("latin1")
    expect(text).toMatch(/multipart\/signed;[\s\S]*protocol="application\/pgp-signature"/)
    const boundary = /boundary="([^"]+)"/.exec(text)?.[1] ?? ""
    const [, entity = "", signature = ""] = text.split(`\r\n--${boundary}`)
    writeFileSync(at("entity"), entity.replace(/^\r\n/, ""), "latin1")
    writeFileSync(at("entity.asc"), signature.slice(signature.indexOf("-----BEGIN")), "latin1")
    expect(entity).toContain(CANARY)
    const { code, stderr } = await run("gpg", [...GPG, "--verify", at("entity.asc"), at("entity")], home())
    expect([code, stderr]).toEqual([0, expect.stringMatching(/Good signature from "<carol@example\.test>"/)])
  })

  test.skipIf(!peer("sq"))("and Sequoia", async () => {
    const files = ["--signer-cert", at("carol.pgp"), "--detached", at("entity.asc"), at("entity")]
    const { code, stderr } = await run("sq", ["verify", ...files])
    expect(code, stderr).toBe(0)
  })

  test("outlives a new encryption key of the account, and is revoked by its owner", async () => {
    await gateway.must("account", "rekey", CAROL, "--out", at("rekeyed"))
    expect((await listed(CAROL))[0]).toMatchObject({ state: "active", notAfter: expect.any(String) })
    await gateway.must("gateway-key", "remove", CAROL, id, "--offline", at("gone.req"))
    await gateway.must("accept", at("gone.req"))
    expect(await listed(CAROL)).toEqual([])
    writeFileSync(at("carol.pgp"), minimalCertificate(await certificateOf(CAROL)))
    await mustRun("gpg", [...GPG, "--import", at("carol.pgp")], home())
    const colons = await mustRun("gpg", [...GPG, "--with-colons", "--list-keys", CAROL], home())
    expect(Buffer.from(colons).toString()).toMatch(new RegExp(`^sub:r:[^\\n]*${id}`, "im"))
    const { code, stderr } = await run("gpg", [...GPG, "--verify", at("entity.asc"), at("entity")], home())
    expect([code, stderr]).toEqual([0, expect.stringContaining("Good signature")])
  })

  test("that is removed where the keyring is, is revoked at once in what is published: as compromised, where others may have it", async () => {
    await gateway.must("gateway-key", "add", CAROL)
    const [{ id: lost }] = await listed(CAROL)
    expect(await gateway.must("gateway-key", "remove", CAROL, lost, "--lost")).toMatch(
      /destroyed\nits subkey is revoked/,
    )
    expect(await listed(CAROL)).toEqual([])
    writeFileSync(at("carol.pgp"), minimalCertificate(await certificateOf(CAROL)))
    await mustRun("gpg", [...GPG, "--import", at("carol.pgp")], home())
    const colons = await mustRun("gpg", [...GPG, "--with-colons", "--list-keys", CAROL], home())
    expect(Buffer.from(colons).toString()).toMatch(new RegExp(`^sub:r:[^\\n]*${lost}`, "im"))
    const packets = Buffer.from(await mustRun("gpg", [...GPG, "--list-packets", at("carol.pgp")], home())).toString()
    expect(packets.match(/revocation reason 0x0\d/g)?.slice(-2)).toEqual([
      "revocation reason 0x03",
      "revocation reason 0x02",
    ])
  })

  test("that is removed far from its keyring is destroyed, and what else is to be done is told", async () => {
    await gateway.must("gateway-key", "add", CAROL)
    const [{ id: far }] = await listed(CAROL)
    const { code, stderr } = await gateway.postern("gateway-key", "remove", CAROL, far, "--keyring", at("elsewhere"))
    expect([code, stderr.toString()]).toEqual([0, expect.stringContaining(`remove ${CAROL} ${far} --offline FILE`)])
    expect(await listed(CAROL)).toEqual([])
  })
})

const GPG = ["--batch", "--no-tty", "--trust-model", "always"]

function home() {
  mkdirSync(at("gnupg"), { recursive: true, mode: 0o700 })
  return { env: { GNUPGHOME: at("gnupg"), LC_ALL: "C" } }
}

async function certificateOf(address: string): Promise<Uint8Array> {
  const { certificates } = JSON.parse(await gateway.must("account", "show", address, "--json"))
  return Buffer.from(certificates.openpgp)
}
