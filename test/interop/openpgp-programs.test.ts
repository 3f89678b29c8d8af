import { mkdir, readFile, writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { openPgpRecipients, verifiedCertificate } from "../../src/crypto/openpgp/recipient.ts"
import { collect, preparedOf } from "../../src/pipeline/prepared.ts"
import { classified } from "../../src/pipeline/protect.ts"
import { ENCRYPTED_ONLY, protectOutgoing } from "../../src/pipeline/protect-outgoing.ts"
import { mustRun, peer, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { armorOf } from "../harness/reading.ts"
import { crlf, mail, verdictOn } from "../pipeline/arriving/looking.ts"

const DORA = "dora@elsewhere.test"
const WHO = `Dora <${DORA}>`

/** A program with a key of its own, whose files are in `folder`. */
interface Program {
  readonly there: boolean
  /** Makes a key. @returns its certificate */
  make(folder: TemporaryFolder): Promise<Uint8Array>
  /** Opens the armored message in a file. */
  open(folder: TemporaryFolder, file: string): Promise<Uint8Array>
  /** Armored signature beside a file. */
  sign(folder: TemporaryFolder, file: string): Promise<Uint8Array>
  /** A text with its signature around. */
  signText(folder: TemporaryFolder, file: string): Promise<Uint8Array>
  close?(folder: TemporaryFolder): Promise<unknown>
}

function gnupg(primary: string, encryption: string): Program {
  const gpg = (folder: TemporaryFolder, ...args: readonly string[]) =>
    mustRun("gpg", [
      "--homedir",
      folder.file("home"),
      "--batch",
      "--passphrase",
      "",
      "--pinentry-mode",
      "loopback",
      ...args,
    ])
  return {
    there: peer("gpg"),
    async make(folder) {
      await mkdir(folder.file("home"), { mode: 0o700 })
      await gpg(folder, "--quick-generate-key", WHO, primary, "sign", "1y")
      const listed = Buffer.from(await gpg(folder, "--with-colons", "--list-keys", DORA)).toString()
      const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listed)?.[1] ?? ""
      await gpg(folder, "--quick-add-key", fingerprint, encryption, "encr", "1y")
      return gpg(folder, "--export", DORA)
    },
    open: (folder, file) => gpg(folder, "--decrypt", file),
    sign: (folder, file) => gpg(folder, "--armor", "--output", "-", "--detach-sign", file),
    signText: (folder, file) => gpg(folder, "--output", "-", "--clear-sign", file),
    close: (folder) => mustRun("gpgconf", ["--homedir", folder.file("home"), "--kill", "all"]),
  }
}

const sequoia: Program = {
  there: peer("sq"),
  async make(folder) {
    await mustRun("sq", ["key", "generate", "--userid", WHO, "--export", folder.file("key")])
    return dearmored(await mustRun("sq", ["key", "extract-cert", folder.file("key")]))
  },
  open: (folder, file) => mustRun("sq", ["decrypt", "--recipient-key", folder.file("key"), file]),
  sign: (folder, file) => mustRun("sq", ["sign", "--signer-key", folder.file("key"), "--detached", file]),
  signText: (folder, file) =>
    mustRun("sq", ["sign", "--signer-key", folder.file("key"), "--cleartext-signature", file]),
}

const rnp: Program = {
  there: peer("rnp") && peer("rnpkeys"),
  async make(folder) {
    await mkdir(folder.file("home"))
    await mustRun("rnpkeys", [...rnpHome(folder), "--generate-key", "--userid", WHO])
    await mustRun("rnpkeys", [...rnpHome(folder), "--export-key", DORA, "--output", folder.file("cert")])
    return dearmored(await readFile(folder.file("cert")))
  },
  open: (folder, file) => mustRun("rnp", [...rnpHome(folder), "--decrypt", "--output", "-", file]),
  sign: (folder, file) => mustRun("rnp", [...rnpHome(folder), "--sign", "--detach", "--armor", "--output", "-", file]),
  signText: (folder, file) => mustRun("rnp", [...rnpHome(folder), "--clearsign", "--output", "-", file]),
}

const rnpHome = (folder: TemporaryFolder): string[] => ["--homedir", folder.file("home"), "--password", ""]

function dearmored(octets: Uint8Array): Uint8Array {
  return dearmor(octets)?.binary ?? new Uint8Array(0)
}

const programs: readonly (readonly [name: string, program: Program])[] = [
  ["GnuPG, RSA", gnupg("rsa2048", "rsa2048")],
  ["GnuPG, NIST P-384", gnupg("nistp384", "nistp384")],
  ["GnuPG, Curve25519", gnupg("ed25519", "cv25519")],
  ["Sequoia", sequoia],
  ["RNP", rnp],
]

describe.each(programs)("%s and a key that it made", (_name, program) => {
  let folder: TemporaryFolder
  let certificate: Uint8Array

  beforeAll(async () => {
    folder = await temporaryFolder()
    if (program.there) certificate = await program.make(folder)
  })
  afterAll(async () => {
    if (program.there) await program.close?.(folder)
    await folder[Symbol.asyncDispose]()
  })

  test.skipIf(!program.there)("opens what leaves for it, octet for octet", async () => {
    const now = new Date()
    const recipients = openPgpRecipients(await verifiedCertificate(certificate, now), now)
    const message = Buffer.from(
      "Subject: x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe \r\n\0\r\n",
      "latin1",
    )
    const target = { format: "openpgp", recipients } as const
    const made = await protectOutgoing(
      await classified(preparedOf(message)),
      [],
      new Uint8Array(32).fill(7),
      "dora",
      target,
      ENCRYPTED_ONLY,
    )
    await writeFile(folder.file("message.asc"), armorOf(await collect(made.content())))
    expect(Buffer.from(await program.open(folder, folder.file("message.asc"))).toString("latin1")).toBe(
      message.toString("latin1"),
    )
  })

  test.skipIf(!program.there)(
    "signs what passes here, beside the text and around it; not with another word in it",
    async () => {
      const candidate = {
        format: "openpgp",
        octets: certificate,
        chain: [],
        source: "wkd",
        trust: "domain",
        place: "test",
        wish: null,
        lineage: null,
      } as const
      const part = mail("Content-Type: text/plain", "", "What Dora wrote.")
      await writeFile(folder.file("part"), part.slice(0, -2))
      await writeFile(folder.file("text"), "What Dora wrote.\n- dash\n")
      const signature = crlf(Buffer.from(await program.sign(folder, folder.file("part"))).toString())
      const text = crlf(Buffer.from(await program.signText(folder, folder.file("text"))).toString())
      const beside = mail(
        `From: ${WHO}`,
        'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b',
        "",
        ...["--b", part.slice(0, -2), "--b", "Content-Type: application/pgp-signature", "", signature, "--b--"],
      )
      const around = `${mail(`From: ${WHO}`, "Content-Type: text/plain", "")}${text}`
      for (const message of [beside, around]) {
        expect(await verdictOn(message, { candidates: [candidate] })).toMatch(/^openpgp=pass/)
        const forged = message.replace("What Dora", "What Eve")
        expect(await verdictOn(forged, { candidates: [candidate] })).toMatch(/^openpgp=fail/)
      }
    },
  )
})
