import { describe, expect, test } from "vitest"
import { GatewayError } from "../../../src/errors.ts"
import { silentLog } from "../../../src/log/log.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { answeringKeyservers } from "../../../src/pipeline/arriving/keyserver-mail.ts"
import { preparedOf } from "../../../src/pipeline/prepared.ts"
import type { Confirmation } from "../../../src/profiles/sources/vks-confirm.ts"
import { MAX_VERIFICATION_MAIL_OCTETS } from "../../../src/profiles/verification-mail.ts"
import { KeyserverRequests, PENDING_MS } from "../../../src/store/keyserver-requests.ts"
import { openDatabase } from "../../../src/store/sqlite.ts"
import { STATE_MIGRATIONS } from "../../../src/store/state.ts"
import { verificationMail } from "../../harness/hagrid.ts"
import { temporaryFolder } from "../../harness/peers.ts"

const AT = new Date("2026-11-26T12:00:00Z")
const HOST = "keys.example"
const ALICE = "alice@example.test"
const FINGERPRINT = "0123456789abcdef0123456789abcdef01234567"
const TOKEN = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9nO2q"
const MAIL = verificationMail(HOST, ALICE, FINGERPRINT.toUpperCase(), TOKEN)

interface Arriving {
  readonly mail?: string
  readonly recipient?: string
  /** The domain that DMARC passed for; null: none. */
  readonly author?: string | null
  readonly quarantine?: boolean
  readonly host?: string
  readonly at?: Date
  readonly confirmed?: Confirmation | Error
  readonly times?: number
}

/** Which tokens were given back, and what is told of the request then. */
async function arrived({
  mail = MAIL,
  recipient = ALICE,
  author = HOST,
  quarantine = false,
  host = HOST,
  at = AT,
  confirmed = { kind: "published" },
  times = 1,
}: Arriving): Promise<{ readonly given: readonly string[]; readonly state: string | undefined }> {
  await using folder = await temporaryFolder()
  const database = openDatabase(folder.file("state.db"), STATE_MIGRATIONS)
  try {
    database.sql.run`
      INSERT INTO account (address, name, formats, root, intermediate, profile, added_at)
      VALUES (${ALICE}, '', 'openpgp', ${Uint8Array.of(1)}, ${Uint8Array.of(1)}, '{}', 0)`
    const requests = new KeyserverRequests(database)
    requests.ask({ address: ALICE, host, fingerprint: FINGERPRINT }, AT)
    const given: string[] = []
    const answering = answeringKeyservers({
      requests,
      async confirm(_request, _address, token) {
        given.push(token)
        if (confirmed instanceof Error) throw confirmed
        return confirmed
      },
      now: () => at,
      log: silentLog(),
    })
    const octets = Buffer.from(mail)
    const entry = {
      envelope: { sender: null, recipients: [], smtpUtf8: false, envelopeId: null, returnContent: null },
      origin: { kind: "mx", account: null, device: null, remote: "192.0.2.1", helo: "x", tls: false },
      received: "",
      receivedAt: at,
      seed: new Uint8Array(32),
      sizeOctets: octets.length,
      authentication: { field: "", quarantine, ...(author === null ? {} : { author }) },
    } as const
    for (let time = 0; time < times; time += 1)
      await answering.stored("id", parseAddress(recipient), preparedOf(octets), entry)
    const [kept] = requests.of(ALICE)
    return { given, state: kept && [kept.state, kept.because].filter((text) => text !== "").join(": ") }
  } finally {
    database.close()
  }
}

const boxed = (type: string, encoding: string, body: string): string => {
  const head = MAIL.slice(0, MAIL.indexOf("MIME-Version"))
  return `${head}MIME-Version: 1.0\r\nContent-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${body}\r\n`
}
const TEXT = `OpenPGP key: ${FINGERPRINT}\r\n\r\nhttps://${HOST}/verify/${TOKEN}\r\n`
const base64 = Buffer.from(TEXT).toString("base64").replace(/.{76}/g, "$&\r\n")

describe("the mail of a keyserver that we had write to one of ours", () => {
  const answered: [name: string, arriving: Arriving][] = [
    ["as it writes", {}],
    [
      "of the domain above its host",
      {
        author: "example.org",
        host: "keys.example.org",
        mail: MAIL.replaceAll(HOST, "keys.example.org").replace("noreply@keys.", "noreply@"),
      },
    ],
    ["in base64", { mail: boxed("text/plain; charset=utf-8", "base64", base64) }],
    ["in HTML alone", { mail: boxed("text/html", "7bit", TEXT) }],
    ["to the address in capitals", { recipient: "ALICE@Example.TEST" }],
    ["just in time", { at: new Date(AT.getTime() + PENDING_MS - 1) }],
    ["that comes twice: once", { times: 2 }],
  ]
  test.each(answered)("is answered: %s", async (_name, arriving) => {
    expect(await arrived(arriving)).toEqual({ given: [TOKEN], state: "published" })
  })

  const left: [name: string, arriving: Arriving][] = [
    ["DMARC did not pass", { author: null }],
    ["DMARC passed for somebody else", { author: "evil.example" }],
    ["its author is another than DMARC passed for", { mail: MAIL.replace(`noreply@${HOST}`, "noreply@evil.example") }],
    ["it shows two authors", { mail: MAIL.replace("From: ", "From: bob@evil.example, ") }],
    ["its author's domain asks for suspicion", { quarantine: true }],
    ["it came to another address", { recipient: "bob@example.test" }],
    ["it came to an address with a tag", { recipient: "alice+tag@example.test" }],
    ["it came too late", { at: new Date(AT.getTime() + PENDING_MS) }],
    ["another keyserver was asked", { host: "other.example" }],
    ["it is about somebody's other key", { mail: MAIL.replaceAll(FINGERPRINT.toUpperCase(), "F".repeat(40)) }],
    ["it leads elsewhere", { mail: MAIL.replaceAll(`https://${HOST}/verify`, "https://evil.example/verify") }],
    ["it is within another message", { mail: boxed("message/rfc822", "7bit", MAIL) }],
    ["it is attached", { mail: boxed("application/octet-stream", "7bit", TEXT) }],
    ["its encoding is broken", { mail: boxed("text/plain", "base64", `${base64}%%%`) }],
    ["it is too long", { mail: `${MAIL}${"x".repeat(MAX_VERIFICATION_MAIL_OCTETS)}` }],
  ]
  test.each(left)("is left to who reads it: %s", async (_name, arriving) => {
    expect(await arrived(arriving)).toEqual({ given: [], state: "asked" })
  })

  const failing: [because: string, confirmed: Confirmation | Error][] = [
    ["its link answers 400", { kind: "failed", because: "its link answers 400" }],
    ["keys.example: no answer", new GatewayError("WEB_TIMEOUT", "keys.example: no answer")],
  ]
  test.each(failing)("is not answered again when that fails: %s", async (because, confirmed) => {
    expect(await arrived({ confirmed, times: 2 })).toEqual({ given: [TOKEN], state: `failed: ${because}` })
  })
})
