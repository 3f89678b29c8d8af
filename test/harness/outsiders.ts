import { existsSync, readFileSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { AUTHORITY, forMail, make } from "./authority.ts"
import { mustRun, peer, type TemporaryFolder, temporaryFolder } from "./peers.ts"
import { armorOf } from "./reading.ts"

/** Two people elsewhere, with keys that OpenSSL and GnuPG made, and these programs to open what reaches them. */
export class Outsiders implements AsyncDisposable {
  /** Has an S/MIME certificate. */
  readonly dora = "dora@outside.test"
  /** Has an OpenPGP certificate. */
  readonly pia = "pia@outside.test"
  readonly #folder: TemporaryFolder

  private constructor(folder: TemporaryFolder) {
    this.#folder = folder
  }

  static readonly possible = peer("openssl") && peer("gpg")

  static async make(): Promise<Outsiders> {
    const outsiders = new Outsiders(await temporaryFolder())
    await Promise.all([outsiders.#makeDora(), outsiders.#makePia()])
    return outsiders
  }

  async #makeDora(): Promise<void> {
    const root = await make(this.#folder, { name: "root", extensions: AUTHORITY })
    const dora = await make(this.#folder, { name: "dora", by: root, extensions: forMail(this.dora) })
    const files = ["-in", dora.certificateFile, "-inkey", dora.keyFile, "-out", this.#folder.file("dora.p12")]
    await mustRun("openssl", ["pkcs12", "-export", "-passout", "pass:dora", ...files])
  }

  async #makePia(): Promise<void> {
    await mkdir(this.#folder.file("gnupg"), { mode: 0o700 })
    const user = `Pia <${this.pia}>`
    await this.#gpg("--passphrase", "", "--quick-generate-key", user, "future-default", "default", "1y")
    await this.#gpg("--armor", "--output", this.#folder.file("pia.asc"), "--export", this.pia)
    await this.#gpg("--armor", "--output", this.#folder.file("pia.key"), "--export-secret-keys", this.pia)
  }

  /** Files that `postern certificate add` takes. */
  get certificateFiles(): readonly (readonly [address: string, file: string])[] {
    return [
      [this.dora, this.#folder.file("dora.pem")],
      [this.pia, this.#folder.file("pia.asc")],
    ]
  }

  /** What others know of them. */
  get known() {
    const read = (name: string) => [readFileSync(this.#folder.file(name), "utf8")]
    return { authorities: read("root.pem"), certificates: read("dora.pem"), openpgp: read("pia.asc") }
  }

  /** All their keys, as a mail program imports them. */
  get keys() {
    const openpgp = readFileSync(this.#folder.file("pia.key"), "utf8")
    return { pkcs12: this.#folder.file("dora.p12"), password: "dora", openpgp }
  }

  /** Opens an encrypted and signed S/MIME message with OpenSSL. @throws Error unless it verifies under `root` (PEM) @returns what was signed */
  async readSmime(message: Uint8Array, root: string): Promise<string> {
    const [sealed, signed, trusted] = ["sealed.eml", "signed.eml", "trusted.pem"].map((name) => this.#folder.file(name))
    await Promise.all([writeFile(sealed ?? "", message), writeFile(trusted ?? "", root)])
    const keys = ["-recip", this.#folder.file("dora.pem"), "-inkey", this.#folder.file("dora.key")]
    await mustRun("openssl", ["cms", "-decrypt", "-binary", "-in", sealed ?? "", ...keys, "-out", signed ?? ""])
    const verified = ["-purpose", "smimesign", "-CAfile", trusted ?? "", "-in", signed ?? ""]
    return Buffer.from(await mustRun("openssl", ["cms", "-verify", ...verified])).toString()
  }

  /** Opens an encrypted and signed PGP/MIME message with GnuPG. @returns what was inside, and the status lines of GnuPG */
  async readOpenPgp(
    message: Uint8Array,
    sender: string,
  ): Promise<{ readonly inside: string; readonly status: string }> {
    const [sealed, inside, certificate] = ["sealed.asc", "inside", "sender.asc"].map((name) => this.#folder.file(name))
    await Promise.all([writeFile(sealed ?? "", armorOf(message)), writeFile(certificate ?? "", sender)])
    await this.#gpg("--import", certificate ?? "")
    const status = await this.#gpg("--yes", "--status-fd", "1", "--output", inside ?? "", "--decrypt", sealed ?? "")
    return { inside: readFileSync(inside ?? "", "utf8"), status }
  }

  async #gpg(...args: readonly string[]): Promise<string> {
    const env = { GNUPGHOME: this.#folder.file("gnupg"), LC_ALL: "C" }
    return Buffer.from(await mustRun("gpg", ["--batch", "--trust-model", "always", ...args], { env })).toString()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (existsSync(this.#folder.file("gnupg")))
      await mustRun("gpgconf", ["--homedir", this.#folder.file("gnupg"), "--kill", "all"])
    await this.#folder[Symbol.asyncDispose]()
  }
}
