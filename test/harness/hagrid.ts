import { randomBytes } from "node:crypto"
import { readCertificate } from "../../src/crypto/openpgp/certificate.ts"
import type { WebHosts } from "./web-hosts.ts"

/**
 * A verifying keyserver as Hagrid is one (keys.openpgp.org; gitlab.com/keys.openpgp.org/hagrid: src/web/vks.rs, vks_web.rs, dist/email-templates): an upload is
 * unpublished; request-verify writes to the address; GET /verify/TOKEN shows a form, and POST publishes, once.
 */
export class Hagrid {
  readonly host: string
  /** Mail that it sends, as Hagrid words it. */
  readonly sent: { readonly address: string; readonly mail: string }[] = []
  readonly #web: WebHosts
  readonly #keys = new Map<string, string>()
  readonly #published = new Map<string, string>()
  readonly #tokens = new Map<string, { readonly address: string; readonly fingerprint: string }>()

  constructor(web: WebHosts, host: string) {
    this.#web = web
    this.host = `${host}:${web.port}`
    web.answer = async (request, response) => {
      const pieces: Buffer[] = []
      for await (const piece of request) pieces.push(piece as Buffer)
      const [status, body] = this.#answer(`${request.method} ${request.url}`, Buffer.concat(pieces).toString())
      const octets = Buffer.from(typeof body === "string" ? body : JSON.stringify(body))
      response.writeHead(status, { "content-length": octets.length }).end(octets)
    }
  }

  /** Whether somebody who asks for the address gets a key. */
  publishes(address: string): boolean {
    return this.#published.has(address)
  }

  /** Requests to follow a link. */
  get followed(): readonly string[] {
    return this.#web.requests.filter((url) => url.includes("/verify/"))
  }

  /** Writes to an address about a key, as it does when anybody asks for it who has brought one. */
  write(address: string, fingerprint: string): string {
    const token = randomBytes(64)
      .toString("base64")
      .replace(/[^A-Za-z0-9]/g, "")
      .slice(0, 43)
    this.#tokens.set(token, { address, fingerprint })
    const mail = verificationMail(this.host, address, fingerprint, token)
    this.sent.push({ address, mail })
    return mail
  }

  #answer(asked: string, body: string): readonly [status: number, body: unknown] {
    if (asked === "POST /vks/v1/upload") return this.#upload(String(JSON.parse(body).keytext))
    if (asked === "POST /vks/v1/request-verify") {
      const { token: fingerprint, addresses } = JSON.parse(body) as { token: string; addresses: readonly string[] }
      for (const address of addresses) this.write(address, fingerprint)
      return [200, this.#status(fingerprint, addresses, "pending")]
    }
    const token = /^POST \/verify\/(\w+)$/.exec(asked)?.[1]
    const agreed = this.#tokens.get(token ?? "")
    if (agreed !== undefined) {
      this.#tokens.delete(token ?? "")
      this.#published.set(agreed.address, agreed.fingerprint)
      return [200, "<!doctype html>Your key is now published"]
    }
    if (token !== undefined) return [400, "Invalid verification token!"]
    if (asked.startsWith("GET /verify/")) return [200, '<!doctype html><form method="POST">']
    const address = /^GET \/vks\/v1\/by-email\/(.+)$/.exec(asked)?.[1] ?? ""
    const key = this.#keys.get(this.#published.get(decodeURIComponent(address)) ?? "")
    return key === undefined ? [404, "No key found"] : [200, key]
  }

  #upload(keytext: string): readonly [status: number, body: unknown] {
    const { fingerprint, userIds } = readCertificate(Buffer.from(keytext))
    const hex = Buffer.from(fingerprint).toString("hex").toUpperCase()
    this.#keys.set(hex, keytext)
    const addresses = userIds.map((userId) => /<(.+)>/.exec(userId)?.[1] ?? userId)
    return [200, this.#status(hex, addresses, "unpublished")]
  }

  #status(fingerprint: string, addresses: readonly string[], otherwise: string): object {
    const status = (address: string) => (this.#published.get(address) === fingerprint ? "published" : otherwise)
    return {
      key_fpr: fingerprint,
      token: fingerprint,
      status: Object.fromEntries(addresses.map((address) => [address, status(address)])),
    }
  }
}

/** multipart/alternative, the text in quoted-printable and the HTML in 8bit, as its mailer makes it. */
export function verificationMail(host: string, address: string, fingerprint: string, token: string): string {
  const base = `https://${host}`
  const link = `${base}/verify/${token}`
  const name = host.replace(/:\d+$/, "")
  return [
    `From: Keyserver <noreply@${name}>`,
    `To: ${address}`,
    `Subject: Verify ${address} for your key on ${name}`,
    "MIME-Version: 1.0",
    'Content-Type: multipart/alternative; boundary="alternative"',
    "",
    "--alternative",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: quoted-printable",
    "",
    "Hi,",
    "",
    `this is an automated message from ${name}. If you didn't request this message=`,
    ", please ignore it.",
    "",
    `OpenPGP key: ${fingerprint}`,
    "",
    `To let others find this key from your email address "${address}",`,
    "please follow the link below:",
    "",
    `    ${link.slice(0, 60)}=`,
    link.slice(60),
    "",
    `You can find more info at ${base}/about`,
    "",
    "--alternative",
    "Content-Type: text/html; charset=utf-8",
    "",
    `<!doctype html><p>OpenPGP key: <tt>${fingerprint}</tt>`,
    `<p><a rel="nofollow" href="${link}">${link}</a>`,
    `<p><a href="${base}">${base}</a>`,
    "--alternative--",
    "",
  ].join("\r\n")
}
