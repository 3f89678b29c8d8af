import { createCleartextMessage, createMessage, generateKey, type PrivateKey, revokeKey, sign } from "openpgp"
import { beforeAll, describe, expect, test } from "vitest"
import { PACKET, readPackets, writePacket } from "../../../src/crypto/openpgp/packet.ts"
import { MAX_HELD_OCTETS } from "../../../src/pipeline/arriving/verify.ts"
import type { KeyCandidate, Trust } from "../../../src/profiles/key.ts"
import { mustRun, peer, temporaryFolder } from "../../harness/peers.ts"
import { crlf, fieldOn, type Looking, mail, verdictOn } from "./looking.ts"

const ALICE = "alice@signed.test"
const HEAD = ["From: Alice <alice@signed.test>", "To: bob@example.test", "Subject: signed"]
const PART = mail("Content-Type: text/plain; charset=utf-8", "", "What Alice wrote.  ", "- dash", "From here: ü").slice(
  0,
  -2,
)
const DAY_MS = 86_400_000

let alice: PrivateKey
let looking: Looking

beforeAll(async () => {
  alice = await key({})
  looking = { candidates: [candidate(alice)] }
})

async function key(wanted: {
  email?: string
  name?: string
  date?: Date
  seconds?: number
  v6?: boolean
}): Promise<PrivateKey> {
  const { email = ALICE, name = "Alice", date = new Date(Date.now() - DAY_MS), seconds = 0, v6 = false } = wanted
  const { privateKey } = await generateKey({
    userIDs: [{ name, email }],
    date,
    keyExpirationTime: seconds,
    subkeys: [{ sign: true }],
    format: "object",
    ...(v6 ? { config: { v6Keys: true } } : {}),
  })
  return privateKey
}

function candidate(of: { toPublic(): { write(): Uint8Array } }, more: Partial<KeyCandidate> = {}): KeyCandidate {
  const found = { source: "wkd", trust: "domain", place: "test", wish: null, lineage: null } as const
  return { format: "openpgp", octets: of.toPublic().write(), chain: [], ...found, ...more }
}

async function detached(content: string, ...signers: readonly PrivateKey[]): Promise<string> {
  const message = await createMessage({ binary: Buffer.from(content) })
  return crlf(await sign({ message, signingKeys: [...signers], detached: true }))
}

async function cleartext(text: string, ...signers: readonly PrivateKey[]): Promise<string> {
  return crlf(await sign({ message: await createCleartextMessage({ text }), signingKeys: [...signers] }))
}

function multipart(signed: string, signature: string, { micalg = "pgp-sha512", boundary = "b" } = {}): string {
  return mail(
    "MIME-Version: 1.0",
    `Content-Type: multipart/signed; protocol="application/pgp-signature"; micalg=${micalg}; boundary=${boundary}`,
    "",
    `--${boundary}`,
    signed,
    `--${boundary}`,
    "Content-Type: application/pgp-signature",
    "",
    signature,
    `--${boundary}--`,
  )
}

function by(signed: string, ...head: readonly string[]): string {
  return `${(head.length > 0 ? head : HEAD).join("\r\n")}\r\n${signed}`
}

function text(body: string, type = "text/plain; charset=utf-8"): string {
  return mail("MIME-Version: 1.0", `Content-Type: ${type}`, "", body)
}

describe("OpenPGP signatures", () => {
  const PASS = /^openpgp=pass: certificate from wkd$/
  const rows: [name: string, message: () => Promise<string>, want: RegExp][] = [
    ["PGP/MIME", async () => by(multipart(PART, await detached(PART, alice))), PASS],
    [
      "PGP/MIME, altered",
      async () => by(multipart(PART.replace("Alice", "Mallory"), await detached(PART, alice))),
      /^openpgp=fail: the signature is wrong$/,
    ],
    ["cleartext", async () => by(text(await cleartext("What Alice wrote.\n- dash\nFrom here: ü\n\n", alice))), PASS],
    [
      "cleartext, altered",
      async () => by(text((await cleartext("What Alice wrote.", alice)).replace("Alice", "Mallory"))),
      /^openpgp=fail: the signature is wrong$/,
    ],
    [
      "a certificate that nobody knows",
      async () => by(multipart(PART, await detached(PART, await key({})))),
      /^openpgp=neutral: no certificate of the signing key is known$/,
    ],
    ["mail without a signature", async () => by(text("no")), /^nothing$/],
    [
      "encrypted mail is left alone",
      async () => by(text("-----BEGIN PGP MESSAGE-----\r\n\r\nwV4D\r\n-----END PGP MESSAGE-----")),
      /^nothing$/,
    ],
  ]
  for (const [name, message, want] of rows)
    test(name, async () => expect(await verdictOn(await message(), looking)).toMatch(want))

  test("version 6", async () => {
    const v6 = await key({ v6: true })
    const message = by(multipart(PART, await detached(PART, v6)))
    expect(await verdictOn(message, { candidates: [candidate(v6)] })).toMatch(PASS)
  })

  test("the result names author and fingerprint", async () => {
    expect(await fieldOn(by(multipart(PART, await detached(PART, alice))), looking)).toMatch(
      /^Authentication-Results: mx\.example\.test;\r\n\topenpgp=pass reason="certificate from wkd"\s+header\.from=alice@signed\.test\s+policy\.fingerprint=[0-9a-f]{40}\r\n$/,
    )
  })

  const trusts: [Trust, RegExp][] = [
    ["pinned", PASS],
    ["dnssec", PASS],
    ["harvested", PASS],
    ["keyserver", /^openpgp=neutral: no certificate of the signing key is known$/],
  ]
  for (const [trust, want] of trusts)
    test(`a certificate whose trust is ${trust}`, async () => {
      const message = by(multipart(PART, await detached(PART, alice)))
      expect(await verdictOn(message, { candidates: [candidate(alice, { trust })] })).toMatch(want)
    })

  test("a source is silent, and nobody else has the certificate", async () => {
    const message = by(multipart(PART, await detached(PART, alice)))
    expect(await verdictOn(message, { silent: true })).toMatch(/^openpgp=temperror/)
  })
})

describe("row 53: an OpenPGP signature that is not what it seems", () => {
  const PARTIAL = /^openpgp=policy: only a part of it is signed$/
  const mixed = (...parts: readonly string[]) =>
    mail(
      "MIME-Version: 1.0",
      'Content-Type: multipart/mixed; boundary="m"',
      "",
      ...parts.flatMap((part) => ["--m", part]),
      "--m--",
    )
  const signedText = () => cleartext("What Alice wrote.", alice)

  const rows: [name: string, message: () => Promise<string>, want: RegExp][] = [
    [
      "an unsigned part around a signed one",
      async () => by(mixed(text("Pay!", "text/html"), multipart(PART, await detached(PART, alice)))),
      PARTIAL,
    ],
    [
      "a signed message attached to an unsigned one",
      async () =>
        by(
          mixed(
            text("Pay!"),
            mail("Content-Type: message/rfc822", "", by(multipart(PART, await detached(PART, alice)))),
          ),
        ),
      PARTIAL,
    ],
    ["cleartext in an attachment", async () => by(mixed(text("Pay!"), text(await signedText()))), PARTIAL],
    [
      "cleartext in a comment of HTML",
      async () => by(text(`<b>Pay!</b><!--\r\n${await signedText()}-->`, "text/html")),
      PARTIAL,
    ],
    ["cleartext in HTML", async () => by(text(`<pre>\r\n${await signedText()}</pre>`, "text/html")), PARTIAL],
    ["text before cleartext", async () => by(text(`Pay!\r\n${await signedText()}`)), PARTIAL],
    ["text behind cleartext", async () => by(text(`${await signedText()}\r\nPay!`)), PARTIAL],
    ["two cleartexts", async () => by(text(`${await signedText()}\r\n${await signedText()}`)), PARTIAL],
    [
      "a header in cleartext that nobody signs",
      async () => by(text((await signedText()).replace("Hash: SHA512", "Hash: SHA512\r\nComment: Pay!"))),
      /^openpgp=permerror/,
    ],
    [
      "text in the place of a header",
      async () => by(text((await signedText()).replace("Hash: SHA512", "Pay!"))),
      /^openpgp=permerror/,
    ],
    [
      "cleartext with a line that begins with a dash",
      async () => by(text((await signedText()).replace("What", "-What"))),
      /^openpgp=permerror/,
    ],
    [
      "two signers",
      async () => by(multipart(PART, await detached(PART, alice, await key({ email: "mallory@evil.test" })))),
      /^openpgp=policy: it has several signatures$/,
    ],
    [
      "another author than the signer",
      async () =>
        by(multipart(PART, await detached(PART, alice)), "From: boss@signed.test", "Sender: alice@signed.test"),
      /^openpgp=policy: the signer is not the author$/,
    ],
    [
      "two From fields",
      async () => by(multipart(PART, await detached(PART, alice)), ...HEAD, "From: boss@signed.test"),
      /^openpgp=policy: it has no author/,
    ],
    [
      "micalg names another hash",
      async () => by(multipart(PART, await detached(PART, alice), { micalg: "pgp-sha1" })),
      /^openpgp=policy: micalg names another hash/,
    ],
    [
      "an epilogue",
      async () => by(`${multipart(PART, await detached(PART, alice))}Pay!\r\n`),
      /^openpgp=policy: text stands behind the signature$/,
    ],
    [
      "a protocol that is none",
      async () =>
        by(
          multipart(PART, await detached(PART, alice)).replace(
            'application/pgp-signature"; micalg',
            'constructor"; micalg',
          ),
        ),
      /^nothing$/,
    ],
    [
      "no signature",
      async () => by(multipart(PART, "no signature")),
      /^openpgp=permerror: the signature cannot be read$/,
    ],
    [
      "a message in its place",
      async () => by(multipart(PART, (await detached(PART, alice)).replaceAll("SIGNATURE", "MESSAGE"))),
      /^openpgp=permerror/,
    ],
    [
      "row 55: a protected From of somebody else",
      async () => {
        const part = mail('Content-Type: text/plain; protected-headers="v1"', "From: boss@signed.test", "", "x").slice(
          0,
          -2,
        )
        return by(multipart(part, await detached(part, alice)))
      },
      /^openpgp=policy: the signed header is by somebody else$/,
    ],
    [
      "more than is held",
      async () =>
        by(multipart(`Content-Type: text/plain\r\n\r\n${"x".repeat(MAX_HELD_OCTETS)}`, await detached("x", alice))),
      /^openpgp=neutral: over 16 MiB are not verified$/,
    ],
  ]
  for (const [name, message, want] of rows)
    test(name, async () => expect(await verdictOn(await message(), looking)).toMatch(want))

  const signers: [name: string, make: () => Promise<[signer: PrivateKey, known: KeyCandidate]>, want: RegExp][] = [
    [
      "whose user id is another's",
      async () => {
        const mallory = await key({ email: "mallory@evil.test", name: ALICE })
        return [mallory, candidate(mallory)]
      },
      /^openpgp=policy: the signer is not the author$/,
    ],
    [
      "whose user id has the address in its name",
      async () => {
        const mallory = await key({ email: "mallory@evil.test", name: `<${ALICE}>` })
        return [mallory, candidate(mallory)]
      },
      /^openpgp=policy: the signer is not the author$/,
    ],
    [
      "that has expired",
      async () => {
        const old = await key({ date: new Date(Date.now() - DAY_MS), seconds: 86_400 + 3_600 })
        return [old, candidate(old)]
      },
      /^openpgp=policy: the signing key is revoked or expired/,
    ],
    [
      "that is revoked",
      async () => {
        const lost = await key({})
        const { publicKey } = await revokeKey({ key: lost, format: "object" })
        return [lost, candidate({ toPublic: () => publicKey })]
      },
      /^openpgp=policy: the signing key is revoked or expired/,
    ],
    [
      "whose only user id is not signed by it",
      async () => {
        const mallory = await key({ email: "mallory@evil.test" })
        const packets = readPackets(mallory.toPublic().write())
        const renamed = packets.map(({ tag, body }) =>
          writePacket(tag, tag === PACKET.userId ? Buffer.from(ALICE) : body),
        )
        const forged = { write: () => Buffer.concat(renamed) }
        return [mallory, candidate({ toPublic: () => forged })]
      },
      /^openpgp=policy/,
    ],
  ]
  for (const [name, make, want] of signers)
    test(`a key ${name}`, async () => {
      const [signer, known] = await make()
      const at = new Date(Date.now() + (name === "that has expired" ? 2 * 3_600_000 : 0))
      expect(await verdictOn(by(multipart(PART, await detached(PART, signer))), { candidates: [known], at })).toMatch(
        want,
      )
    })
})

describe.skipIf(!peer("gpg"))("GnuPG's signatures", () => {
  test("PGP/MIME and cleartext", async () => {
    await using folder = await temporaryFolder()
    const gpg = (args: readonly string[], input = "") =>
      mustRun(
        "gpg",
        ["--homedir", folder.path, "--batch", "--passphrase", "", "--pinentry-mode", "loopback", ...args],
        { input },
      )
    await gpg(["--quick-gen-key", `Alice <${ALICE}>`, "rsa2048", "default", "1d"])
    const octets = await gpg(["--export", ALICE])
    const known = { candidates: [candidate({ toPublic: () => ({ write: () => octets }) })] }
    try {
      const signature = crlf(Buffer.from(await gpg(["--armor", "--detach-sign"], PART)).toString("latin1"))
      expect(await verdictOn(by(multipart(PART, signature)), known)).toMatch(/^openpgp=pass/)
      const inline = crlf(Buffer.from(await gpg(["--clear-sign"], "What Alice wrote.  \n- dash\n")).toString("latin1"))
      expect(await verdictOn(by(text(inline)), known)).toMatch(/^openpgp=pass/)
    } finally {
      await mustRun("gpgconf", ["--homedir", folder.path, "--kill", "gpg-agent"])
    }
  })
})
