import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto"
import { readFileSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { pemDecode, pemEncode } from "../../src/crypto/cms/pem.ts"
import type { CmsIdentity } from "../../src/crypto/cms/signed.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import type { OpenPgpIdentity } from "../../src/crypto/openpgp/sign.ts"
import { readTransferable } from "../../src/crypto/openpgp/transferable.ts"
import { p256Pkcs8 } from "../../src/crypto/primitives/p256.ts"
import { signEd25519, signP256 } from "../../src/crypto/primitives/sign.ts"
import { StructureParser } from "../../src/mime/structure.ts"
import { classified } from "../../src/pipeline/protect.ts"
import { ENCRYPTED_ONLY, protectOutgoing, signOutgoing } from "../../src/pipeline/protect-outgoing.ts"
import type { SigningIdentity } from "../../src/pipeline/signing.ts"
import { makeHolder } from "../crypto/cms/alice.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { headerOf, NOW, octetsOf, openPgpReader, person, pieces, SEED, smimeReader, TRACE, text } from "./leaving.ts"

const PLAIN =
  "From: Alice <alice@example.test>\r\nTo: bob@elsewhere.test\r\nSubject: signed\r\nMIME-Version: 1.0\r\n" +
  "Content-Type: text/plain; charset=us-ascii\r\n\r\nfirst line\r\n\r\nlast line\r\n"
/** Everything that relays change (RFC 3156 §3): blanks at the end, `From `, 8 bit; and format=flowed, which lives on such blanks. */
const FRAGILE = `${PLAIN.replace("us-ascii", "utf-8; format=flowed")}flowed \r\nFrom here on\r\nGr\xfc\xdfe\r\n`

let folder: TemporaryFolder
const identities = new Map<string, CmsIdentity>()
let openpgp: OpenPgpIdentity
beforeAll(async () => {
  folder = await temporaryFolder()
  const holder = makeHolder(person, "sign")
  identities.set("ECDSA", {
    certificate: holder.certificate,
    chain: [person.intermediate.der],
    key: { algorithm: "ecdsa", sign: async (octets) => signP256(holder.scalar, octets, "der") },
  })
  await writeFile(folder.file("ECDSA.root"), pemEncode("CERTIFICATE", person.root.der))
  if (peer("openssl")) identities.set("RSA", await rsaIdentity())
  openpgp = await openPgpIdentity()
})
afterAll(() => folder?.[Symbol.asyncDispose]())

async function rsaIdentity(): Promise<CmsIdentity> {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 })
  await writeFile(folder.file("rsa.key"), privateKey.export({ format: "pem", type: "pkcs8" }))
  const subject = ["-subj", "/CN=Alice", "-addext", "subjectAltName=email:alice@example.test"]
  const req = ["req", "-x509", "-key", folder.file("rsa.key"), ...subject, "-out", folder.file("RSA.root")]
  await mustRun("openssl", req)
  const [der] = pemDecode("CERTIFICATE", readFileSync(folder.file("RSA.root"), "latin1"))
  const certificate = readCertificate(der ?? new Uint8Array(0))
  return {
    certificate,
    chain: [],
    key: { algorithm: "rsa", sign: async (octets) => sign("sha256", octets, privateKey) },
  }
}

/** The primary key of an account stands in for the gateway's own subkey. */
async function openPgpIdentity(): Promise<OpenPgpIdentity> {
  const key = await makeAccountKey({ name: "Alice", address: "alice@example.test", createdAt: NOW })
  await writeFile(folder.file("certificate.asc"), armor(key.certificate, "PUBLIC KEY BLOCK"))
  const { primary } = readTransferable(key.secretKey)
  // Usage 0, then the seed as MPI (RFC 9580 §5.5.3).
  const secret = primary.packet.body.subarray(primary.key.body.length + 3)
  const seed = Buffer.alloc(32)
  secret.subarray(0, -2).forEach((octet, at, all) => {
    seed[32 - all.length + at] = octet
  })
  return {
    fingerprint: primary.key.fingerprint,
    algorithm: "eddsa-legacy",
    sign: async (digest) => signEd25519(seed, digest),
  }
}

const smime = (name: string, form: "clear" | "opaque"): SigningIdentity => {
  const signer = identities.get(name)
  if (!signer) throw new Error(`no ${name}`)
  return { format: "smime", form, signer }
}

async function signed(message: string, identity: SigningIdentity): Promise<Uint8Array> {
  const options = { headers: "shown", signing: { identity, at: NOW } } as const
  return octetsOf(await signOutgoing(await classified(pieces(Buffer.from(message, "latin1"))), TRACE, SEED, options))
}

async function encrypted(message: string, identity: SigningIdentity): Promise<Uint8Array> {
  const reader = identity.format === "smime" ? smimeReader(makeHolder(person)) : await openPgpReader()
  const options = { ...ENCRYPTED_ONLY, headers: "hidden", signing: { identity, at: NOW } } as const
  const source = pieces(Buffer.from(message, "latin1"))
  return reader.open(
    await octetsOf(await protectOutgoing(await classified(source), TRACE, SEED, "bob", reader.target, options)),
  )
}

/** What OpenSSL says was signed; null when it does not verify. */
async function verified(message: Uint8Array, name: string): Promise<string | null> {
  const args = ["cms", "-verify", "-purpose", "any", "-CAfile", folder.file(`${name}.root`)]
  const { code, stdout } = await run("openssl", args, { input: message })
  return code === 0 ? text(stdout) : null
}

/** The message with one letter of what was signed changed, and nothing else. */
function forged(message: Uint8Array, form: "clear" | "opaque"): Uint8Array {
  const change = (octets: Uint8Array): Buffer => {
    const altered = Buffer.from(octets)
    const at = altered.indexOf("first line")
    expect(at).toBeGreaterThan(0)
    altered.write("F", at)
    return altered
  }
  if (form === "clear") return change(message)
  const [header = "", body = ""] = text(message).split("\r\n\r\n")
  const signedData = change(Buffer.from(body, "base64")).toString("base64")
  return Buffer.from(`${header}\r\n\r\n${signedData.replace(/.{76}/g, "$&\r\n")}\r\n`)
}

/** The signed part of a multipart/signed, and the signature behind it. */
function halves(message: Uint8Array): { readonly part: Uint8Array; readonly signature: Uint8Array } {
  const parser = new StructureParser()
  parser.push(message)
  const { content } = parser.end()
  const [part, signature] = content.kind === "multipart" ? content.parts : []
  if (!part || !signature) throw new Error("not two parts")
  return {
    part: message.subarray(part.headerStart, part.bodyEnd),
    signature: message.subarray(signature.bodyStart, signature.bodyEnd),
  }
}

const marked = (message: string, mode: string): string =>
  message.replace(/(Content-Type: [^\r]*)/, `$1;\r\n hp="${mode}"; protected-headers="v1"`)

describe.skipIf(!peer("openssl"))("S/MIME, verified by OpenSSL", () => {
  for (const name of ["ECDSA", "RSA"]) {
    for (const form of ["clear", "opaque"] as const)
      test(`${name}, ${form}`, async () => {
        const message = await signed(PLAIN, smime(name, form))
        expect(headerOf(message)).toContain(form === "clear" ? "multipart/signed; micalg=" : "smime-type=signed-data")
        expect(headerOf(message)).toContain("\r\nSubject: signed\r\n")
        expect(await verified(message, name)).toBe(marked(PLAIN, "clear"))
        expect(await verified(forged(message, form), name)).toBeNull()
      })

    test(`${name}: signed, then encrypted; nothing is on the way that could change it`, async () => {
      const inside = await encrypted(FRAGILE, smime(name, "clear"))
      expect(headerOf(inside)).toMatch(/^MIME-Version: 1\.0\r\nContent-Type: multipart\/signed; micalg="sha-256"/)
      const payload = await verified(inside, name)
      expect(payload).toContain(marked(FRAGILE, "cipher"))
      expect(payload).toMatch(/^HP-Outer: From: /)
    })
  }

  test("row 61: what relays would change is signed in the opaque form", async () => {
    const message = await signed(FRAGILE, smime("ECDSA", "clear"))
    expect(headerOf(message)).toContain("smime-type=signed-data")
    expect(await verified(message, "ECDSA")).toBe(marked(FRAGILE, "clear"))
  })
})

describe("OpenPGP", () => {
  const identity = (): SigningIdentity => ({ format: "openpgp", signer: openpgp })

  test.skipIf(!peer("gpg"))(
    "row 61: gpg verifies, also flowed text with blanks and `From ` that travels encrypted",
    async () => {
      const home = folder.file("gnupg")
      await mkdir(home, { mode: 0o700 })
      const env = { GNUPGHOME: home }
      await mustRun("gpg", ["--batch", "--import", folder.file("certificate.asc")], { env })
      for (const message of [await signed(PLAIN, identity()), await encrypted(FRAGILE, identity())]) {
        const { part, signature } = halves(message)
        await writeFile(folder.file("part"), part)
        await writeFile(folder.file("part.asc"), signature)
        const verify = ["--batch", "--status-fd", "1", "--verify", folder.file("part.asc"), folder.file("part")]
        const { code, stdout, stderr } = await run("gpg", verify, { env })
        expect(code, stderr).toBe(0)
        expect(text(stdout)).toContain("[GNUPG:] VALIDSIG")
        await writeFile(folder.file("part"), Buffer.concat([part, Buffer.from(" ")]))
        expect((await run("gpg", verify, { env })).code).not.toBe(0)
      }
      await run("gpgconf", ["--homedir", home, "--kill", "all"])
    },
  )

  test.skipIf(!peer("sq"))("sq verifies", async () => {
    const { part, signature } = halves(await signed(PLAIN, identity()))
    await writeFile(folder.file("sq.part"), part)
    await writeFile(folder.file("sq.asc"), signature)
    const verify = ["verify", "--signer-cert", folder.file("certificate.asc"), "--detached", folder.file("sq.asc")]
    const { code, stderr } = await run("sq", [...verify, folder.file("sq.part")])
    expect(code, stderr).toBe(0)
  })

  test.skipIf(!peer("rnp"))("rnp verifies", async () => {
    const { part, signature } = halves(await signed(PLAIN, identity()))
    await writeFile(folder.file("rnp.part"), part)
    await writeFile(folder.file("rnp.asc"), signature)
    await mkdir(folder.file("rnp"))
    const home = ["--homedir", folder.file("rnp")]
    await mustRun("rnpkeys", [...home, "--import-key", folder.file("certificate.asc")])
    const verify = [...home, "--verify", folder.file("rnp.asc"), "--source", folder.file("rnp.part")]
    await mustRun("rnp", verify)
    await writeFile(folder.file("rnp.part"), Buffer.concat([part, Buffer.from(" ")]))
    expect((await run("rnp", verify)).code).not.toBe(0)
  })

  test("the same message and time give the same octets", async () => {
    expect(text(await signed(PLAIN, identity()))).toBe(text(await signed(PLAIN, identity())))
  })

  test.skipIf(!peer("sq"))(
    "row 61: what relays would change is signed in base64, and reads as it was written",
    async () => {
      const { part, signature } = halves(await signed(FRAGILE, identity()))
      await writeFile(folder.file("fragile.part"), part)
      await writeFile(folder.file("fragile.asc"), signature)
      const verify = [
        "verify",
        "--signer-cert",
        folder.file("certificate.asc"),
        "--detached",
        folder.file("fragile.asc"),
      ]
      const { code, stderr } = await run("sq", [...verify, folder.file("fragile.part")])
      expect(code, stderr).toBe(0)
      const [header = "", body = ""] = text(part).split("\r\n\r\n")
      const before = marked(FRAGILE.slice(0, FRAGILE.indexOf("\r\n\r\n")), "clear")
      expect(header).toBe(`Content-Transfer-Encoding: base64\r\n${before}`)
      expect(Buffer.from(body, "base64").toString("latin1")).toBe(FRAGILE.slice(FRAGILE.indexOf("\r\n\r\n") + 4))
    },
  )

  const unsignable: [name: string, message: string][] = [
    ["8-bit fields", PLAIN.replace("signed", "gr\xfc\xdfe")],
    ["a message within it", `Content-Type: message/rfc822\r\n\r\n${FRAGILE}`],
    [
      "a part that somebody has signed",
      `Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nx \r\n--s--\r\n--m--\r\n`,
    ],
    ["blanks between parts", "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m \r\n\r\nx \r\n--m--\r\n"],
    ["two encodings", `Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: 8bit\r\n${FRAGILE}`],
  ]
  for (const [name, message] of unsignable)
    test(`row 61: what relays would change is not signed in clear: ${name}`, async () => {
      await expect(signed(message, identity())).rejects.toMatchObject({ code: "NOT_SIGNABLE" })
    })
})

test("what its author has signed is not signed again, and stays as it is", async () => {
  const message = "Subject: x\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx \r\n--b--\r\n"
  expect(text(await signed(message, smime("ECDSA", "clear")))).toBe(text(TRACE[0] ?? SEED) + message)
  expect(text(await encrypted(message, smime("ECDSA", "clear")))).toBe(message)
})

describe.skipIf(!peer("openssl"))("a signature of the author's", () => {
  test("row 47: verifies still behind encryption and opening", async () => {
    const holder = makeHolder(person, "sign")
    await writeFile(folder.file("author.pem"), pemEncode("CERTIFICATE", holder.certificate.der))
    await writeFile(folder.file("issuer.pem"), pemEncode("CERTIFICATE", person.intermediate.der))
    await writeFile(folder.file("author.key"), pemEncode("PRIVATE KEY", p256Pkcs8(holder.scalar)))
    expect(createPrivateKey(readFileSync(folder.file("author.key"))).asymmetricKeyType).toBe("ec")
    const who = ["-signer", folder.file("author.pem"), "-inkey", folder.file("author.key")]
    const sign = ["cms", "-sign", ...who, "-certfile", folder.file("issuer.pem"), "-crlfeol", "-text"]
    const author = Buffer.from(await mustRun("openssl", sign, { input: "one \r\nFrom two\r\n" }))
    const message = `From: a@b.test\r\n${text(author).replaceAll(/\r?\n/g, "\r\n")}`
    for (const reader of [smimeReader(makeHolder(person)), await openPgpReader()]) {
      const options = { ...ENCRYPTED_ONLY, headers: "hidden" } as const
      const source = pieces(Buffer.from(message, "latin1"))
      const opened = await reader.open(
        await octetsOf(await protectOutgoing(await classified(source), TRACE, SEED, "bob", reader.target, options)),
      )
      expect(text(opened)).toBe(message)
      expect(await verified(opened, "ECDSA")).toContain("one ")
    }
  })
})
