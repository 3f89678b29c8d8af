import { constants, createPrivateKey, type KeyObject, privateDecrypt } from "node:crypto"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { bitString, childrenOf, contentOf, nil, readWhole, sequence, TAG } from "../../../src/crypto/cms/der.ts"
import {
  deriveEnvelopeSecrets,
  type EnvelopeCipher,
  encryptEnveloped,
  envelopedSize,
} from "../../../src/crypto/cms/enveloped.ts"
import { pemDecode } from "../../../src/crypto/cms/pem.ts"
import { cmsRecipient, recipientInfo } from "../../../src/crypto/cms/recipient.ts"
import { oaepAlgorithm, type RsaPadding } from "../../../src/crypto/cms/recipient-key.ts"
import type { OaepHash } from "../../../src/crypto/primitives/keywrap.ts"
import { collect, preparedOf } from "../../../src/pipeline/prepared.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"

/** What `openssl req -newkey` is told, by the name of the kind. */
const KINDS: Readonly<Record<string, readonly string[]>> = {
  "P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
  "P-384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
  "P-521": ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
  "RSA 2048": ["rsa:2048"],
}
const ROWS: readonly (readonly [kind: string, rsa: RsaPadding])[] = [
  ["P-384", "pkcs1v15"],
  ["P-521", "pkcs1v15"],
  ["RSA 2048", "pkcs1v15"],
  ["RSA 2048", "oaep"],
]
const CIPHERS: readonly EnvelopeCipher[] = ["aes-128-cbc", "aes-256-cbc", "aes-128-gcm", "aes-256-gcm"]
const CONTENT = Buffer.from(`Content-Type: text/plain\r\n\r\n${"line\r\n".repeat(3000)}`)
const secrets = deriveEnvelopeSecrets(new Uint8Array(32).fill(3), "recipients")

interface Pair {
  readonly keyFile: string
  readonly file: string
  readonly certificate: Certificate
}

let folder: TemporaryFolder
const pairs = new Map<string, Pair>()
beforeAll(async () => {
  folder = await temporaryFolder()
  if (!peer("openssl")) return
  await Promise.all(
    Object.entries(KINDS).map(async ([kind, newkey]) => {
      const [keyFile, file] = [folder.file(`${kind}.key`), folder.file(`${kind}.pem`)]
      const req = ["req", "-x509", "-nodes", "-subj", `/CN=${kind}`, "-days", "30", "-keyout", keyFile, "-out", file]
      await mustRun("openssl", [...req, "-newkey", ...newkey])
      pairs.set(kind, { keyFile, file, certificate: certificateOf(file) })
    }),
  )
})
afterAll(() => folder?.[Symbol.asyncDispose]())

function certificateOf(file: string): Certificate {
  const [der] = pemDecode("CERTIFICATE", readFileSync(file, "latin1"))
  return readCertificate(der ?? new Uint8Array(0))
}

function pair(kind: string): Pair {
  const found = pairs.get(kind)
  if (!found) throw new Error(`no ${kind}`)
  return found
}

function size(certificates: readonly Certificate[], cipher: EnvelopeCipher, rsa: RsaPadding): number {
  const recipients = certificates.map((certificate) => cmsRecipient(certificate, rsa))
  return envelopedSize(CONTENT.length, recipients, cipher)
}

function encrypt(certificates: readonly Certificate[], cipher: EnvelopeCipher, rsa: RsaPadding): Promise<Uint8Array> {
  const recipients = certificates.map((certificate) => cmsRecipient(certificate, rsa))
  const options = { contentOctets: CONTENT.length, recipients, secrets, cipher }
  return collect(encryptEnveloped(preparedOf(CONTENT.subarray(0, 7000), CONTENT.subarray(7000)).content(), options))
}

const decryption = ({ keyFile, file }: Pair): string[] => {
  return ["cms", "-decrypt", "-inform", "DER", "-binary", "-inkey", keyFile, "-recip", file]
}

describe.skipIf(!peer("openssl"))("OpenSSL opens, and finds the size foretold,", () => {
  for (const [kind, rsa] of ROWS)
    for (const cipher of CIPHERS)
      test(`${kind} (${rsa}), ${cipher}`, async () => {
        const recipient = pair(kind)
        const envelope = await encrypt([recipient.certificate], cipher, rsa)
        expect(envelope).toHaveLength(size([recipient.certificate], cipher, rsa))
        expect(await mustRun("openssl", decryption(recipient), { input: envelope })).toEqual(CONTENT)
      })

  test("an envelope to all kinds together, by each key", async () => {
    const all = [...pairs.values()]
    const certificates = all.map(({ certificate }) => certificate)
    const envelope = await encrypt(certificates, "aes-256-cbc", "oaep")
    expect(envelope).toHaveLength(size(certificates, "aes-256-cbc", "oaep"))
    for (const one of all) expect(await mustRun("openssl", decryption(one), { input: envelope })).toEqual(CONTENT)
  })

  test("on curves the result is a function of content and secrets", async () => {
    for (const kind of ["P-256", "P-384", "P-521"]) {
      const { certificate } = pair(kind)
      const [first, second] = [0, 1].map(() => encrypt([certificate], "aes-256-cbc", "pkcs1v15"))
      expect(Buffer.compare((await first) ?? CONTENT, (await second) ?? CONTENT), kind).toBe(0)
    }
  })

  test("row 52: GCM stands in AuthEnvelopedData only, CBC in EnvelopedData", async () => {
    for (const cipher of CIPHERS) {
      const envelope = await encrypt([pair("P-384").certificate], cipher, "pkcs1v15")
      const printed = await mustRun("openssl", ["cms", "-cmsout", "-print", "-inform", "DER"], { input: envelope })
      const wanted = cipher.endsWith("gcm") ? "id-smime-ct-authEnvelopedData" : "pkcs7-envelopedData"
      expect(Buffer.from(printed).toString(), cipher).toContain(`contentType: ${wanted}`)
    }
  })
})

/** Debian's own NSS opens nothing on curves; that of its Thunderbird does, and is what people have. */
const env = { LD_LIBRARY_PATH: "/usr/lib/thunderbird" }
const nss = ["openssl", "cmsutil", "pk12util", "certutil", "thunderbird"].every(peer)

describe.skipIf(!nss)("Thunderbird's NSS opens", () => {
  let database: string
  beforeAll(async () => {
    database = `sql:${folder.path}`
    await mustRun("certutil", ["-N", "-d", database, "--empty-password"], { env })
    for (const [kind, { keyFile, file }] of pairs) {
      const pkcs12 = folder.file(`${kind}.p12`)
      const made = ["pkcs12", "-export", "-inkey", keyFile, "-in", file, "-name", kind, "-passout", "pass:x"]
      await mustRun("openssl", [...made, "-out", pkcs12])
      await mustRun("pk12util", ["-i", pkcs12, "-d", database, "-W", "x", "-K", ""], { env })
    }
  })

  for (const [kind, rsa] of ROWS)
    for (const cipher of ["aes-128-cbc", "aes-256-cbc"] as const)
      test(`${kind} (${rsa}), ${cipher}`, async () => {
        const envelope = await encrypt([pair(kind).certificate], cipher, rsa)
        const opened = await run("cmsutil", ["-D", "-d", database], { input: envelope, env })
        expect(opened.stderr).toBe("")
        expect(opened.stdout).toEqual(CONTENT)
      })
})

describe.skipIf(!peer("openssl"))("a key named id-RSAES-OAEP", () => {
  /** The RSA certificate with its key under another name. */
  function renamed(algorithm: Uint8Array): Certificate {
    const { certificate } = pair("RSA 2048")
    const spki = certificate.subjectPublicKeyInfo
    const bits = childrenOf(spki, readWhole(spki, 0, spki.length, TAG.sequence))[1]
    if (!bits) throw new Error("no key")
    return {
      ...certificate,
      subjectPublicKeyInfo: sequence(algorithm, bitString(contentOf(spki, bits).subarray(1))),
    }
  }

  /** The content-encryption key in the last 256 octets of a KeyTransRecipientInfo. */
  function opened(info: Uint8Array, oaepHash: OaepHash): Uint8Array {
    const key: KeyObject = createPrivateKey(readFileSync(pair("RSA 2048").keyFile))
    return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, info.subarray(-256))
  }

  const bare = sequence(Buffer.from("06092a864886f70d010107", "hex"))
  const rows: readonly (readonly [name: string, algorithm: Uint8Array, hash: OaepHash])[] = [
    ["without parameters: SHA-256", bare, "sha256"],
    ["all defaults: SHA-1, as it asks", oaepAlgorithm("sha1"), "sha1"],
    ["SHA-384", oaepAlgorithm("sha384"), "sha384"],
    ["SHA-512", oaepAlgorithm("sha512"), "sha512"],
  ]
  for (const [name, algorithm, hash] of rows)
    test(`is used with OAEP whatever is asked for: ${name}`, () => {
      const key = Buffer.alloc(32, 9)
      const wrapping = { key, ephemeral: secrets.ephemeral }
      expect(opened(recipientInfo(cmsRecipient(renamed(algorithm)), 0, wrapping), hash)).toEqual(key)
    })

  test("with parameters that nobody uses is refused", () => {
    const odd = sequence(bare.subarray(2), sequence(nil()))
    expect(() => cmsRecipient(renamed(odd))).toThrow(expect.objectContaining({ code: "CERTIFICATE_UNSUPPORTED" }))
  })
})

test("a point that is not on its curve is refused", () => {
  const [der] = pemDecode("CERTIFICATE", readFileSync("test/vectors/cms/p384.pem", "latin1"))
  const certificate = readCertificate(der ?? new Uint8Array(0))
  const spki = Buffer.from(certificate.subjectPublicKeyInfo)
  spki[spki.length - 1] = (spki.at(-1) ?? 0) ^ 1
  expect(() => cmsRecipient({ ...certificate, subjectPublicKeyInfo: spki })).toThrow(
    expect.objectContaining({ code: "POINT_INVALID" }),
  )
})
