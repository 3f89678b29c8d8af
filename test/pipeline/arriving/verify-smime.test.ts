import { readFile, writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { MAX_CERTIFICATES } from "../../../src/pipeline/arriving/smime.ts"
import { MAX_HELD_OCTETS, MAX_SIGNATURE_OCTETS } from "../../../src/pipeline/arriving/verify.ts"
import type { KeyCandidate } from "../../../src/profiles/key.ts"
import { AUTHORITY, forMail, type Made, make, type Wanted } from "../../harness/authority.ts"
import { mustRun, peer, type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { crlf, fieldOn, type Looking, mail, verdictOn, verified } from "./looking.ts"
import { signedByEd25519 } from "./signing.ts"

const ALICE = "alice@signed.test"
const HEAD = ["From: Alice <alice@signed.test>", "To: bob@example.test", "Subject: signed"]
const TEXT = mail("Content-Type: text/plain", "", "What Alice wrote.")

let folder: TemporaryFolder
let root: Made
let alice: Made
let looking: Looking
let made = 0

beforeAll(async () => {
  folder = await temporaryFolder()
  if (!peer("openssl")) return
  root = await make(folder, { name: "root", extensions: AUTHORITY, days: 3650 })
  alice = await leaf()
  looking = { roots: [root.der] }
})
afterAll(() => folder[Symbol.asyncDispose]())

function leaf(wanted: Partial<Wanted> = {}): Promise<Made> {
  return make(folder, { name: `made${made++}`, by: root, extensions: forMail(ALICE), ...wanted })
}

/** What was signed once is signed: a program started costs more than all that is tested. */
const signatures = new Map<string, Promise<Buffer>>()

function openssl(content: string, signer: Made, ...more: readonly string[]): Promise<Buffer> {
  const key = JSON.stringify([content, signer.certificateFile, more])
  const found = signatures.get(key) ?? runOpenssl(content, signer, more)
  signatures.set(key, found)
  return found
}

async function runOpenssl(content: string, signer: Made, more: readonly string[]): Promise<Buffer> {
  const [input, output] = [folder.file(`in${made}`), folder.file(`out${made++}`)]
  await writeFile(input, content, "latin1")
  const key = ["-signer", signer.certificateFile, "-inkey", signer.keyFile]
  await mustRun("openssl", ["cms", "-sign", "-binary", "-in", input, ...key, "-out", output, ...more])
  return readFile(output)
}

/** MIME fields and body that OpenSSL signs, without the message's own header. */
async function sign(content: string, signer: Made, ...more: readonly string[]): Promise<string> {
  return crlf((await openssl(content, signer, ...more)).toString("latin1"))
}

/** A message by Alice around what was signed. */
function by(signed: string, ...head: readonly string[]): string {
  return `${(head.length > 0 ? head : HEAD).join("\r\n")}\r\n${signed}`
}

/** DER of the signature, without MIME. */
function bare(content: string, signer: Made, ...more: readonly string[]): Promise<Buffer> {
  return openssl(content, signer, "-outform", "DER", ...more)
}

function multipart(
  signed: string,
  signature: Uint8Array,
  options: { micalg?: string; before?: string; behind?: string } = {},
) {
  const { micalg = "sha-256", before = "", behind = "" } = options
  const encoded = Buffer.from(signature).toString("base64").replace(/.{76}/g, "$&\r\n")
  return mail(
    "MIME-Version: 1.0",
    `Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=${micalg}; boundary="b"`,
    "",
    `${before}--b`,
    `${signed}`,
    "--b",
    'Content-Type: application/pkcs7-signature; name="smime.p7s"',
    "Content-Transfer-Encoding: base64",
    "",
    encoded,
    `--b--${behind}`,
  )
}

function opaque(signature: Uint8Array, more = ""): string {
  return mail(
    "MIME-Version: 1.0",
    `Content-Type: application/pkcs7-mime; smime-type=signed-data${more}`,
    "Content-Transfer-Encoding: base64",
    "",
    Buffer.from(signature).toString("base64").replace(/.{76}/g, "$&\r\n"),
  )
}

/** The signed part as it stands before the boundary, whose line end is not its. */
const PART = TEXT.slice(0, -2)

describe.skipIf(!peer("openssl"))("S/MIME signatures of OpenSSL pass", () => {
  const rows: [name: string, wanted: Partial<Wanted>, more: readonly string[]][] = [
    ["multipart/signed, P-256", {}, []],
    ["multipart/signed, P-384 with SHA-384", { key: "P-384" }, ["-md", "sha384"]],
    ["multipart/signed, RSA with PKCS #1 v1.5", { key: "RSA 2048" }, []],
    ["multipart/signed, RSA-PSS", { key: "RSA 2048" }, ["-keyopt", "rsa_padding_mode:pss"]],
    [
      "multipart/signed, signer named by key identifier",
      { extensions: [...forMail(ALICE), "subjectKeyIdentifier=hash"] },
      ["-keyid"],
    ],
    ["opaque", {}, ["-nodetach"]],
    ["opaque, in pieces", {}, ["-nodetach", "-stream"]],
  ]
  for (const [name, wanted, more] of rows)
    test(name, async () => {
      const signed = by(await sign(TEXT, await leaf(wanted), ...more))
      expect(await verdictOn(signed, looking)).toBe("smime=pass: issued under “root”")
      const altered = more.includes("-nodetach") ? null : signed.replace("What Alice", "What Mallory")
      if (altered !== null) expect(await verdictOn(altered, looking)).toMatch(/^smime=fail: the content was altered/)
    })

  test("the result names address and serial number, as RFC 7281 says", async () => {
    expect(await fieldOn(by(await sign(TEXT, alice)), looking)).toMatch(
      /^Authentication-Results: mx\.example\.test;\r\n\tsmime=pass reason="issued under “?\?*root[^"]*"\s+body\.smime-identifier=alice@signed\.test\s+body\.smime-serial=[0-9a-f]+\r\n$/,
    )
  })

  test("multipart/signed, Ed25519", async () => {
    const signer = await leaf({ key: "Ed25519" })
    const signature = await signedByEd25519(Buffer.from(PART), signer)
    expect(await verdictOn(by(multipart(PART, signature, { micalg: "sha-512" })), looking)).toMatch(/^smime=pass/)
    const altered = multipart(PART.replace("Alice", "Mallory"), signature, { micalg: "sha-512" })
    expect(await verdictOn(by(altered), looking)).toMatch(/^smime=fail/)
  })

  test("over a body of any size that is signed beside it", async () => {
    const large = mail(
      "Content-Type: text/plain",
      "",
      ...("x"
        .repeat(200_000)
        .match(/.{70}/g)
        ?.flatMap((line) => Array(7).fill(line)) ?? []),
    )
    expect(large.length).toBeGreaterThan(1_048_576)
    expect(await verdictOn(by(await sign(large, alice)), looking)).toMatch(/^smime=pass/)
  })
})

describe.skipIf(!peer("openssl"))("row 53: an S/MIME signature that is not what it seems", () => {
  const PARTIAL = /^smime=policy: only a part of it is signed$/
  const mixed = (...parts: readonly string[]) =>
    mail(
      "MIME-Version: 1.0",
      'Content-Type: multipart/mixed; boundary="m"',
      "",
      ...parts.flatMap((part) => ["--m", part]),
      "--m--",
    )

  const rows: [name: string, message: () => Promise<string>, want: RegExp][] = [
    [
      "an unsigned part around a signed one",
      async () => by(mixed(mail("Content-Type: text/html", "", "<p>Pay!"), await sign(TEXT, alice))),
      PARTIAL,
    ],
    [
      "a signed message attached to an unsigned one",
      async () => by(mixed(TEXT, mail("Content-Type: message/rfc822", "", by(await sign(TEXT, alice))))),
      PARTIAL,
    ],
    [
      "a message whose only part is a signed message",
      async () => by(mail("Content-Type: message/rfc822", "", by(await sign(TEXT, alice)))),
      PARTIAL,
    ],
    [
      "a footer of a mailing list",
      async () => by(mixed(await sign(TEXT, alice), mail("Content-Type: text/plain", "", "--", "List"))),
      PARTIAL,
    ],
    [
      "a third part behind the signature",
      async () =>
        by(
          (await sign(TEXT, alice)).replace(
            /\r\n--(-+\w+)--\r\n/,
            "\r\n--$1\r\nContent-Type: text/html\r\n\r\nPay!\r\n--$1--\r\n",
          ),
        ),
      /^smime=policy: there are parts beside the signed one$/,
    ],
    [
      "two signers",
      async () => {
        const other = await leaf({ extensions: forMail("mallory@evil.test") })
        return by(await sign(TEXT, alice, "-signer", other.certificateFile, "-inkey", other.keyFile))
      },
      /^smime=policy: it has several signers$/,
    ],
    [
      "another signer than the author",
      async () => by(await sign(TEXT, await leaf({ extensions: forMail("mallory@evil.test") }))),
      /^smime=policy: the signer is not the author$/,
    ],
    [
      "the signer is Sender, not From",
      async () => by(await sign(TEXT, alice), "From: boss@signed.test", "Sender: alice@signed.test"),
      /^smime=policy: the signer is not the author$/,
    ],
    [
      "two From fields",
      async () => by(await sign(TEXT, alice), ...HEAD, "From: boss@signed.test"),
      /^smime=policy: it has no author, or several$/,
    ],
    [
      "two authors in one From",
      async () => by(await sign(TEXT, alice), "From: alice@signed.test, boss@signed.test"),
      /^smime=policy: it has no author/,
    ],
    [
      "a second From before which a line ends",
      async () => by(await sign(TEXT, alice), ...HEAD, "From\r\n : boss@signed.test"),
      /^smime=policy: it has no author/,
    ],
    [
      "the author's address in a display name",
      async () => by(await sign(TEXT, alice), 'From: "alice@signed.test" <mallory@evil.test>'),
      /^smime=policy: the signer is not the author$/,
    ],
    [
      "a certificate without an address",
      async () =>
        by(
          await sign(TEXT, await leaf({ extensions: forMail(ALICE).filter((line) => !line.startsWith("subjectAlt")) })),
        ),
      /^smime=policy: the signer's certificate names no address$/,
    ],
    [
      "an address with a blank",
      async () => by(await sign(TEXT, await leaf({ extensions: forMail(`${ALICE} `.replace("alice", "alice\\ ")) }))),
      /^smime=policy: the signer is not the author$/,
    ],
    [
      "an authority that nobody knows",
      async () => by(await sign(TEXT, await leaf({ by: null }))),
      /^smime=policy: of the signer's certificate: it vouches for itself/,
    ],
    [
      "a certificate for TLS servers",
      async () =>
        by(
          await sign(
            TEXT,
            await leaf({
              extensions: [
                ...forMail(ALICE).filter((line) => !line.startsWith("extended")),
                "extendedKeyUsage=serverAuth",
              ],
            }),
          ),
        ),
      /^smime=policy: of the signer's certificate: it is not for e-mail/,
    ],
    [
      "a certificate that may not sign",
      async () => by(await sign(TEXT, await leaf({ extensions: forMail(ALICE, "keyAgreement") }))),
      /^smime=policy: of the signer's certificate: its key usage allows no signature/,
    ],
    [
      "SHA-1 in its path",
      async () => by(await sign(TEXT, await leaf({ digest: "sha1" }))),
      /^smime=policy: of the signer's certificate: it is signed with SHA-1$/,
    ],
    [
      "an authority that may not issue for the domain",
      async () => {
        const constraint = "nameConstraints=critical,permitted;email:other.test"
        const authority = await leaf({ extensions: [...AUTHORITY, constraint] })
        const signer = await leaf({ by: authority })
        return by(await sign(TEXT, signer, "-certfile", authority.certificateFile))
      },
      /^smime=policy: of the signer's certificate: name constraints/,
    ],
    [
      "no certificate",
      async () => by(await sign(TEXT, alice, "-nocerts")),
      /^smime=neutral: the signer's certificate did not come along$/,
    ],
    ["SHA-1", async () => by(await sign(TEXT, alice, "-md", "sha1")), /^smime=policy: it is signed with a weak hash/],
    [
      "no signed attributes",
      async () => by(await sign(TEXT, alice, "-noattr")),
      /^smime=policy: the signature has no signed attributes$/,
    ],
    [
      "micalg names another hash",
      async () => by(multipart(PART, await bare(PART, alice), { micalg: "sha-512" })),
      /^smime=policy: micalg names another hash/,
    ],
    [
      "micalg that nobody knows is passed over",
      async () => by(multipart(PART, await bare(PART, alice), { micalg: "unknown" })),
      /^smime=pass/,
    ],
    [
      "a signature with content of its own",
      async () => by(multipart(PART, await bare(PART, alice, "-nodetach"))),
      /^smime=policy: the signature has content of its own$/,
    ],
    ["opaque without content", async () => by(opaque(await bare(TEXT, alice))), /^smime=permerror: nothing is signed$/],
    [
      "opaque with empty content",
      async () => by(opaque(await bare("", alice, "-nodetach"))),
      /^smime=permerror: nothing is signed$/,
    ],
    ["certificates only", async () => by(opaque(await certificatesOnly())), /^smime=permerror: nobody signed it$/],
    [
      "a preamble as programs write it",
      async () =>
        by(
          multipart(PART, await bare(PART, alice), {
            before: "This is a cryptographically signed message in MIME format.\r\n\r\n",
          }),
        ),
      /^smime=pass/,
    ],
    [
      "a preamble that some program could show as a message",
      async () =>
        by(multipart(PART, await bare(PART, alice), { before: "Content-Type: text/html\r\n\r\n<b>Pay!\r\n" })),
      /^smime=policy: text stands before the signed part$/,
    ],
    [
      "a long preamble",
      async () => by(multipart(PART, await bare(PART, alice), { before: `${"Pay! ".repeat(60)}\r\n` })),
      /^smime=policy: text stands before the signed part$/,
    ],
    [
      "an epilogue",
      async () => by(multipart(PART, await bare(PART, alice), { behind: "\r\nPay!\r\n" })),
      /^smime=policy: text stands behind the signature$/,
    ],
    [
      "no end",
      async () => by(multipart(PART, await bare(PART, alice)).replace(/--b--\r\n$/, "")),
      /^smime=policy: text stands behind the signature$/,
    ],
    [
      "two Content-Types",
      async () => by(`Content-Type: text/html\r\n${multipart(PART, await bare(PART, alice))}`),
      /^nothing$/,
    ],
    [
      "two Content-Types, the signed one first",
      async () =>
        by(multipart(PART, await bare(PART, alice)).replace("\r\n\r\n", "\r\nContent-Type: text/html\r\n\r\n")),
      /^smime=policy: it has several Content-Types$/,
    ],
    [
      "two boundaries",
      async () => by(multipart(PART, await bare(PART, alice)).replace('boundary="b"', 'boundary="b"; boundary="c"')),
      /^smime=policy: it has several boundaries$/,
    ],
    [
      "a multipart in base64",
      async () => by(`Content-Transfer-Encoding: base64\r\n${multipart(PART, await bare(PART, alice))}`),
      /^smime=policy: the signed multipart is in a transfer encoding$/,
    ],
    [
      "a second part that is no signature",
      async () =>
        by(
          multipart(PART, await bare(PART, alice)).replace(
            "Content-Type: application/pkcs7-signature; name",
            "Content-Type: text/html; name",
          ),
        ),
      /^smime=policy: the second part is no signature$/,
    ],
    [
      "a signature that is none",
      async () => by(multipart(PART, Buffer.from("no signature"))),
      /^smime=permerror: the signature is malformed$/,
    ],
    [
      "a signature that is too long",
      async () => by(multipart(PART, Buffer.alloc(MAX_SIGNATURE_OCTETS))),
      /^smime=permerror: the signature cannot be read$/,
    ],
    [
      "opaque content that is too long",
      async () => by(opaque(Buffer.concat([Buffer.from("308401000000", "hex"), Buffer.alloc(MAX_HELD_OCTETS)]))),
      /^smime=neutral: over 16 MiB are not verified$/,
    ],
    [
      "row 55: a protected From of somebody else",
      async () => {
        const part = mail('Content-Type: text/plain; hp="clear"', "From: boss@signed.test", "", "x").slice(0, -2)
        return by(multipart(part, await bare(part, alice)))
      },
      /^smime=policy: the signed header is by somebody else$/,
    ],
    [
      "a protected From of the author",
      async () => {
        const part = mail('Content-Type: text/plain; hp="clear"', "From: Alice <alice@signed.test>", "", "x").slice(
          0,
          -2,
        )
        return by(multipart(part, await bare(part, alice)))
      },
      /^smime=pass/,
    ],
    [
      "a protected From of somebody else, opaque",
      async () =>
        by(
          opaque(
            await bare(
              mail('Content-Type: text/plain; hp="clear"', "From: boss@signed.test", "", "x"),
              alice,
              "-nodetach",
            ),
          ),
        ),
      /^smime=policy: the signed header is by somebody else$/,
    ],
    [
      "a whole message signed as header protection, by somebody else",
      async () => {
        const part = mail("Content-Type: message/rfc822; forwarded=no", "", "From: boss@signed.test", "", "x").slice(
          0,
          -2,
        )
        return by(multipart(part, await bare(part, alice)))
      },
      /^smime=policy: the signed header is by somebody else$/,
    ],
    [
      "the same, opaque",
      async () => {
        const whole = mail("Content-Type: message/rfc822; forwarded=no", "", "From: boss@signed.test", "", "x")
        return by(opaque(await bare(whole, alice, "-nodetach")))
      },
      /^smime=policy: the signed header is by somebody else$/,
    ],
    [
      "a message that the author forwards, signed, opaque",
      async () => {
        const whole = mail("Content-Type: message/rfc822", "", "From: boss@signed.test", "", "x")
        return by(opaque(await bare(whole, alice, "-nodetach")))
      },
      /^smime=pass/,
    ],
    [
      "a message that the author forwards, signed",
      async () => {
        const part = mail("Content-Type: message/rfc822", "", "From: boss@signed.test", "", "x").slice(0, -2)
        return by(multipart(part, await bare(part, alice)))
      },
      /^smime=pass/,
    ],
    [
      "encrypted mail is left alone",
      async () => by(mail("Content-Type: application/pkcs7-mime; smime-type=enveloped-data", "", "x")),
      /^nothing$/,
    ],
    ["mail without a signature", async () => by(TEXT), /^nothing$/],
  ]
  for (const [name, message, want] of rows)
    test(name, async () => expect(await verdictOn(await message(), looking)).toMatch(want))

  async function certificatesOnly(): Promise<Buffer> {
    const output = folder.file("certs.p7c")
    await mustRun("openssl", [
      "crl2pkcs7",
      "-nocrl",
      "-certfile",
      alice.certificateFile,
      "-outform",
      "DER",
      "-out",
      output,
    ])
    return readFile(output)
  }

  test("a signer whose certificate has expired", async () => {
    const signed = by(await sign(TEXT, alice))
    const at = new Date(Date.now() + 400 * 86_400_000)
    expect(await verdictOn(signed, { ...looking, at })).toMatch(
      /^smime=policy: of the signer's certificate: it expired/,
    )
  })

  const statuses: [name: string, kind: "soft" | "hard", status: "good" | "revoked" | "unanswered", want: RegExp][] = [
    ["revoked", "soft", "revoked", /^smime=fail: .* is revoked$/],
    ["not revoked", "hard", "good", /^smime=pass/],
    ["nobody answers, and that is enough", "soft", "unanswered", /^smime=pass/],
    ["nobody answers, and that is not enough", "hard", "unanswered", /^smime=temperror/],
  ]
  for (const [name, kind, status, want] of statuses)
    test(`a signer whose certificate is ${name}`, async () => {
      const answers = {
        good: { kind: "good", until: null },
        revoked: { kind: "revoked", since: new Date(0), reason: null },
        unanswered: { kind: "unanswered", because: "away" },
      } as const
      const revocation = { kind, status: async () => answers[status] }
      expect(await verdictOn(by(await sign(TEXT, alice)), { ...looking, revocation })).toMatch(want)
    })

  const candidate = (more: Partial<KeyCandidate>): KeyCandidate => ({
    format: "smime",
    octets: alice.der,
    chain: [],
    source: "test",
    trust: "pinned",
    place: "test",
    wish: null,
    lineage: null,
    ...more,
  })
  const vouchers: [name: string, more: () => Partial<KeyCandidate>, want: RegExp][] = [
    ["pinned", () => ({}), /^smime=pass: known certificate of its author$/],
    ["in an administrator's directory", () => ({ trust: "directory" }), /^smime=pass/],
    [
      "under what the domain's records vouch for",
      () => ({ trust: "dnssec", octets: root.der, anchors: [root.der] }),
      /^smime=pass/,
    ],
    ["published by the domain without a word for whom", () => ({ trust: "domain" }), /^smime=policy/],
    ["harvested", () => ({ trust: "harvested", anchors: [alice.der] }), /^smime=policy/],
    ["at a keyserver", () => ({ trust: "keyserver", anchors: [alice.der] }), /^smime=policy/],
  ]
  for (const [name, more, want] of vouchers)
    test(`without a root, a certificate that is ${name}`, async () => {
      const given = { candidates: [candidate(more())] }
      const found = await verified(by(await sign(TEXT, alice)), given)
      expect(`smime=${found?.verdict.result}: ${found?.verdict.because}`).toMatch(want)
      expect(found?.signer ?? null, "only who is under a root is harvested").toBeNull()
    })

  test("without a root, and a source that is silent", async () => {
    expect(await verdictOn(by(await sign(TEXT, alice)), { silent: true })).toMatch(/^smime=temperror/)
  })

  test("a flood of certificates: those behind the first are not looked at", async () => {
    const signer = await leaf({ key: "Ed25519" })
    const flood = (count: number) =>
      signedByEd25519(Buffer.from(PART), signer, [...Array(count).fill(root.der), signer.der])
    const verdict = async (count: number) =>
      verdictOn(by(multipart(PART, await flood(count), { micalg: "sha-512" })), looking)
    expect(await verdict(MAX_CERTIFICATES - 1)).toMatch(/^smime=pass/)
    expect(await verdict(MAX_CERTIFICATES)).toMatch(/^smime=neutral: the signer's certificate did not come along$/)
  })
})

describe.skipIf(!peer("openssl"))("what a verified S/MIME signature tells of encryption", () => {
  test("its own certificate, where that may be encrypted to, with its capabilities", async () => {
    const rsa = await leaf({ key: "RSA 2048", extensions: forMail(ALICE, "keyEncipherment,digitalSignature") })
    const signer = (await verified(by(await sign(TEXT, rsa)), looking))?.signer
    expect(Buffer.from(signer?.certificate ?? [])).toEqual(Buffer.from(rsa.der))
    expect(signer?.capabilities?.length).toBeGreaterThan(20)
  })

  test("another one beside it, where its own is for signatures only", async () => {
    const subject = "/CN=Alice"
    const signing = await leaf({ subject, extensions: forMail(ALICE, "digitalSignature") })
    const reading = await leaf({ subject, extensions: forMail(ALICE, "keyAgreement") })
    const signed = await sign(TEXT, signing, "-certfile", reading.certificateFile)
    const signer = (await verified(by(signed), looking))?.signer
    expect(Buffer.from(signer?.certificate ?? [])).toEqual(Buffer.from(reading.der))
    expect(signer?.chain.map((der) => Buffer.from(der))).toEqual([Buffer.from(signing.der)])
  })

  test("none, where one beside it is somebody else's", async () => {
    const subject = "/CN=Alice"
    const signing = await leaf({ subject, extensions: forMail(ALICE, "digitalSignature") })
    const reading = await leaf({ subject, extensions: forMail("mallory@evil.test", "keyAgreement") })
    const found = await verified(by(await sign(TEXT, signing, "-certfile", reading.certificateFile)), looking)
    expect([found?.verdict.result, found?.signer]).toEqual(["pass", null])
  })
})
