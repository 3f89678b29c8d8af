import { readFileSync } from "node:fs"
import { decrypt, readMessage, readPrivateKey } from "openpgp"
import { describe, expect, test } from "vitest"
import { dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { deriveOpenPgpSecrets, encryptOpenPgp } from "../../../src/crypto/openpgp/encrypt.ts"
import { readPackets } from "../../../src/crypto/openpgp/packet.ts"
import { openPgpRecipients, verifiedCertificate } from "../../../src/crypto/openpgp/recipient.ts"
import { checkOpenPgp, readCleartext } from "../../../src/crypto/openpgp/verify.ts"
import { EncryptionClassifier } from "../../../src/mime/classify.ts"
import { collect } from "../../../src/pipeline/prepared.ts"
import { mail, verdictOn } from "../../pipeline/arriving/looking.ts"
import { inPieces, makeAlice, NOW } from "./alice.ts"

const { cleartext, encrypted } = JSON.parse(readFileSync("test/vectors/openpgp/rfc9580.json", "utf8")) as {
  readonly cleartext: readonly string[]
  readonly encrypted: Readonly<Record<string, readonly string[]>>
}
const armored = (name: string): Buffer => readFileSync(`test/vectors/openpgp/${name}.asc`)
const certificate = dearmor(armored("rfc9580-a3"))?.binary ?? new Uint8Array(0)
const FINGERPRINT = "cb186c4f0609a697e4d52dfa6c722b0c1f1e27c18a56708f6525ec27bad9acc9"

function sample(name: string): readonly string[] {
  const lines = encrypted[name]
  if (!lines) throw new Error(`no ${name}`)
  return lines
}

describe("the cleartext message of RFC 9580 A.6", () => {
  function check(lines: readonly string[], by = certificate) {
    const read = readCleartext(Buffer.from(mail(...lines)))
    if (!read) throw new Error("no cleartext")
    return checkOpenPgp(read.signed, read.signature, [by], NOW)
  }

  test("is signed by the certificate of A.3", async () => {
    expect(await check(cleartext)).toMatchObject({ kind: "good", fingerprint: FINGERPRINT, userIds: [] })
  })

  test("is not when a word is another, nor by another certificate", async () => {
    expect(await check(cleartext.map((line) => line.replace("tofu", "beef")))).toMatchObject({ kind: "wrong" })
    expect(await check(cleartext, (await makeAlice()).account.certificate)).toMatchObject({ kind: "unknown" })
  })

  test("has no author when it arrives: the certificate names nobody, pinned or not", async () => {
    const message = mail("From: Alice <alice@elsewhere.test>", "Subject: list", "", ...cleartext)
    const found = {
      format: "openpgp",
      octets: certificate,
      chain: [],
      place: "test",
      wish: null,
      lineage: null,
    } as const
    for (const [source, trust] of [
      ["pinned", "pinned"],
      ["wkd", "domain"],
    ] as const)
      expect(await verdictOn(message, { candidates: [{ ...found, source, trust }], at: NOW })).toBe(
        "openpgp=policy: the signer is not the author",
      )
  })
})

describe.each(Object.keys(encrypted))("the encrypted message of RFC 9580 %s", (name) => {
  test("is what it says", async () => {
    const { data } = await decrypt({
      message: await readMessage({ armoredMessage: sample(name).join("\n") }),
      ...(name.includes("password")
        ? { passwords: ["password"] }
        : { decryptionKeys: await readPrivateKey({ armoredKey: armored("rfc9580-v6-key").toString() }) }),
    })
    expect(data).toBe("Hello, world!")
  })

  test.each([
    ["PGP/MIME", ['Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b', ""], true],
    ["inline", ["Content-Type: text/plain", ""], false],
  ] as const)("is taken for encrypted: %s", (_form, head, isMime) => {
    const part = [
      "--b",
      "Content-Type: application/pgp-encrypted",
      "",
      "Version: 1",
      "",
      "--b",
      "Content-Type: application/octet-stream",
      "",
    ]
    const lines = isMime ? [...part, ...sample(name), "--b--"] : sample(name)
    const classifier = new EncryptionClassifier()
    classifier.push(Buffer.from(mail("Subject: x", "MIME-Version: 1.0", ...head, ...lines)))
    expect(classifier.end()).not.toBe("clear")
  })
})

test("our session key packet for the certificate of A.3 is laid out as that of A.8", async () => {
  const recipients = openPgpRecipients(await verifiedCertificate(certificate, NOW), NOW)
  const secrets = deriveOpenPgpSecrets(new Uint8Array(32).fill(5), "sample")
  const options = { contentOctets: 13, recipients, secrets, seipd: 2 } as const
  const ours = await collect(encryptOpenPgp(inPieces(Buffer.from("Hello, world!"), 5), options))
  const [own, theirs] = [ours, Buffer.from(sample("A.8 X25519, AEAD-OCB").join("\r\n"))].map((octets) => {
    const [pkesk, seipd] = readPackets(dearmor(octets)?.binary ?? new Uint8Array(0))
    return { pkesk: pkesk?.body ?? octets, seipd: seipd?.body ?? octets }
  })
  // Version 6, the key's version and fingerprint, X25519 (RFC 9580 §5.1.2); behind it the ephemeral point and the wrapped key: AES-256 for AES-128.
  const HEAD_OCTETS = 36
  expect(Buffer.from(own?.pkesk.subarray(0, HEAD_OCTETS) ?? [])).toEqual(
    Buffer.from(theirs?.pkesk.subarray(0, HEAD_OCTETS) ?? []),
  )
  expect([own?.pkesk.length, theirs?.pkesk.length]).toEqual([36 + 32 + 1 + 40, 36 + 32 + 1 + 24])
  // SEIPD version, cipher, OCB, size of chunks.
  expect([own, theirs].map((one) => [...(one?.seipd.subarray(0, 4) ?? [])])).toEqual([
    [2, 9, 2, 10],
    [2, 7, 2, 6],
  ])
})
