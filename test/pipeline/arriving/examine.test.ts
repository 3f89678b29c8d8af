import { createMessage, generateKey, type PrivateKey, sign } from "openpgp"
import { beforeAll, describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { cmsRecipient } from "../../../src/crypto/cms/recipient.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { GatewayError } from "../../../src/errors.ts"
import { makeAccount } from "../../../src/identity/account.ts"
import { silentLog } from "../../../src/log/log.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { examiningArrivals } from "../../../src/pipeline/arriving/examine.ts"
import { MAX_ATTACHED, MAX_ATTACHED_OCTETS } from "../../../src/pipeline/arriving/learn.ts"
import type { Gateway, OpenMessage } from "../../../src/pipeline/gateway.ts"
import { collect, preparedOf } from "../../../src/pipeline/prepared.ts"
import { NO_RESTORERS } from "../../../src/pipeline/restore.ts"
import { store } from "../../../src/pipeline/store.ts"
import type { AutocryptPeer } from "../../../src/profiles/autocrypt.ts"
import type { KeyCandidate } from "../../../src/profiles/key.ts"
import { type HarvestedKey, harvestedSource } from "../../../src/profiles/sources/harvested.ts"
import { judge } from "../../../src/profiles/usable.ts"
import { jobFor } from "../../../src/queue/queue.ts"
import { KeptVerdicts, MailKeys } from "../../../src/store/mail-keys.ts"
import { openDatabase } from "../../../src/store/sqlite.ts"
import { STATE_MIGRATIONS } from "../../../src/store/state.ts"
import { AUTHORITY, forMail, make } from "../../harness/authority.ts"
import { mustRun, peer, temporaryFolder } from "../../harness/peers.ts"
import { crlf, mail } from "./looking.ts"

const AT = new Date("2026-11-26T12:00:00Z")
const ALICE = "alice@signed.test"
const FROM = `From: Alice <${ALICE}>`
const DATE = "Date: Thu, 26 Nov 2026 11:00:00 +0000"

let alice: PrivateKey
let keydata: string
let armored: string
let certificate: Certificate

beforeAll(async () => {
  const [userIDs, date] = [[{ name: "Alice", email: ALICE }], new Date("2026-11-20T00:00:00Z")]
  alice = (await generateKey({ userIDs, date, format: "object" })).privateKey
  keydata = Buffer.from(alice.toPublic().write()).toString("base64")
  armored = crlf(alice.toPublic().armor())
  const bob = { address: "bob@example.test", name: "Bob", formats: ["smime"] } as const
  const [key] = (await makeAccount(bob, { now: AT, random: randomOctets })).person.smime
  certificate = readCertificate(key?.certificate ?? new Uint8Array(0))
})

function entryOf(octets: Uint8Array, author: string | null, quarantine = false) {
  const field = "Authentication-Results: mx.example.test; dmarc=pass\r\n"
  return {
    envelope: { sender: null, recipients: [], smtpUtf8: false, envelopeId: null, returnContent: null },
    origin: { kind: "mx", account: null, device: null, remote: "192.0.2.1", helo: "x", tls: false },
    received: "Received: by us\r\n",
    receivedAt: AT,
    seed: new Uint8Array(32),
    sizeOctets: octets.length,
    authentication: { field, quarantine, ...(author === null ? {} : { author }) },
  } as const
}

/** What is remembered after a message has come, and what the log tells. */
async function learnt(
  message: string,
  author: string | null = "signed.test",
  quarantine = false,
  roots: readonly Certificate[] = [],
  at = AT,
) {
  const peers = new Map<string, AutocryptPeer>()
  const harvested: [string, HarvestedKey][] = []
  const arrivals = examiningArrivals({
    authservId: "mx.example.test",
    keys: { candidates: async () => ({ candidates: [], silent: false }) },
    rulesAt: (at) => ({ at, roots, revocation: { kind: "off" }, tags: false }),
    verdicts: { find: () => null, keep: (_id, field) => field },
    peers: {
      changePeer(address, change) {
        const changed = change(peers.get(address) ?? null)
        if (changed !== null) peers.set(address, changed)
      },
    },
    harvest: { harvest: (address, key) => harvested.push([address, key]) },
    log: silentLog(),
  })
  const octets = Buffer.from(message)
  await arrivals.examine("id", preparedOf(octets), { ...entryOf(octets, author, quarantine), receivedAt: at })
  return { peers: [...peers], harvested }
}

function withKeys(count: number, type = "application/pgp-keys"): string {
  const parts = Array.from({ length: count }, () => ["--m", `Content-Type: ${type}`, "", armored])
  return mail(FROM, DATE, 'Content-Type: multipart/mixed; boundary="m"', "", ...parts.flat(), "--m--")
}

describe("row 38: an Autocrypt field", () => {
  const field = () => `Autocrypt: addr=${ALICE}; prefer-encrypt=mutual; keydata=${keydata}`
  const rows: [name: string, message: () => string, author: string | null, isLearnt: boolean][] = [
    ["of mail that passed DMARC is remembered", () => mail(FROM, DATE, field(), "", "x"), "signed.test", true],
    ["of a forged author (DMARC fails) is not", () => mail(FROM, DATE, field(), "", "x"), null, false],
    ["where another domain passed is not", () => mail(FROM, DATE, field(), "", "x"), "evil.test", false],
    [
      "of a report is not",
      () => mail(FROM, DATE, field(), "Content-Type: multipart/report; boundary=b", "", "--b--"),
      "signed.test",
      false,
    ],
    ["of two authors is not", () => mail(`${FROM}, bob@signed.test`, DATE, field(), "", "x"), "signed.test", false],
    ["under two From fields is not", () => mail(FROM, FROM, DATE, field(), "", "x"), "signed.test", false],
    [
      "of another address is not",
      () => mail(FROM, DATE, field().replace("alice", "bob"), "", "x"),
      "signed.test",
      false,
    ],
  ]
  for (const [name, message, author, isLearnt] of rows)
    test(name, async () => {
      const { peers } = await learnt(message(), author)
      const certificate = new Uint8Array(Buffer.from(keydata, "base64"))
      const at = new Date("2026-11-26T11:00:00Z")
      expect(peers).toEqual(isLearnt ? [[ALICE, { isMutual: true, certificate, saidAt: at, seenAt: at }]] : [])
    })

  const dates: [name: string, date: string, want: Date][] = [
    ["in the future is that of receipt", "Date: Thu, 26 Nov 2027 11:00:00 +0000", AT],
    ["that is none is that of receipt", "Date: yesterday", AT],
  ]
  for (const [name, date, want] of dates)
    test(`a date ${name}`, async () => {
      const { peers } = await learnt(mail(FROM, date, field(), "", "x"))
      expect(peers[0]?.[1]).toMatchObject({ saidAt: want, seenAt: want })
    })

  test("of mail in quarantine is not", async () => {
    expect((await learnt(mail(FROM, DATE, field(), "", "x"), "signed.test", true)).peers).toEqual([])
  })
})

describe("what goes wrong while it is looked at", () => {
  const faulty = (error: Error) =>
    examiningArrivals({
      authservId: "mx.example.test",
      keys: { candidates: () => Promise.reject(error) },
      rulesAt: (at) => ({ at, roots: [], revocation: { kind: "off" }, tags: false }),
      verdicts: { find: () => null, keep: (_id, field) => field },
      peers: {
        changePeer: () => {
          throw error
        },
      },
      harvest: null,
      log: silentLog(),
    })
  const text = () =>
    Buffer.from(
      mail(
        FROM,
        'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b',
        "",
        "--b",
        "",
        "x",
        "--b",
        "Content-Type: application/pgp-signature",
        "",
        "x",
        "--b--",
      ),
    )

  test("does not keep a message from its reader", async () => {
    const field = await faulty(new TypeError("a mistake")).examine(
      "id",
      preparedOf(text()),
      entryOf(text(), "signed.test"),
    )
    expect(field).toContain('openpgp=neutral reason="it could not be verified"')
  })

  test("is tried again, where the state is away", async () => {
    const examined = faulty(new GatewayError("STATE_AWAY", "away")).examine(
      "id",
      preparedOf(text()),
      entryOf(text(), "signed.test"),
    )
    await expect(examined).rejects.toThrow("away")
  })
})

describe("attached OpenPGP certificates", () => {
  const rows: [name: string, message: () => string, author: string | null, count: number][] = [
    ["of authenticated mail are harvested", () => withKeys(1), "signed.test", 1],
    ["of mail that is not are not", () => withKeys(1), null, 0],
    ["of another type are not", () => withKeys(1, "text/plain"), "signed.test", 0],
    ["of somebody else are not", () => withKeys(1).replace(FROM, "From: bob@signed.test"), "signed.test", 0],
    [
      "within another message are not",
      () => mail(FROM, "Content-Type: message/rfc822", "", withKeys(1)),
      "signed.test",
      0,
    ],
    ["as many as are looked at", () => withKeys(MAX_ATTACHED + 1), "signed.test", MAX_ATTACHED],
    [
      "that are too long are not",
      () => withKeys(1).replace("\r\n-----END", `${"\r\n".repeat(MAX_ATTACHED_OCTETS / 2)}\r\n-----END`),
      "signed.test",
      0,
    ],
    ["that cannot be read are not", () => withKeys(1).replace("BEGIN PGP PUBLIC", "BEGIN PGP PUBIC"), "signed.test", 0],
  ]
  for (const [name, message, author, count] of rows)
    test(name, async () => {
      const { harvested } = await learnt(message(), author)
      expect(harvested).toHaveLength(count)
      if (count > 0)
        expect(harvested[0]).toMatchObject([ALICE, { format: "openpgp", sentAt: new Date("2026-11-26T11:00:00Z") }])
    })
})

describe.skipIf(!peer("openssl"))("row 39: the certificate of an S/MIME signature", () => {
  const rows: [name: string, author: string | null, isRooted: boolean, isHarvested: boolean][] = [
    ["of a verified signature in authenticated mail is harvested, with what came along", "signed.test", true, true],
    ["under nobody who is known is not", "signed.test", false, false],
    ["of mail that did not pass DMARC is not", null, true, false],
  ]
  test.for(rows)("%s", async ([, author, isRooted, isHarvested]) => {
    await using folder = await temporaryFolder()
    const root = await make(folder, { name: "root", extensions: AUTHORITY, more: ["-set_serial", "1"] })
    const middle = await make(folder, { name: "middle", by: root, extensions: AUTHORITY })
    const own = await make(folder, { name: "alice", by: middle, extensions: forMail(ALICE) })
    const key = ["-signer", own.certificateFile, "-inkey", own.keyFile, "-certfile", middle.certificateFile]
    const input = mail("Content-Type: text/plain", "", "signed")
    const signed = crlf(
      Buffer.from(await mustRun("openssl", ["cms", "-sign", "-binary", ...key], { input })).toString(),
    )
    const now = new Date()
    const message = `${FROM}\r\n${signed}`
    const { harvested } = await learnt(message, author, false, isRooted ? [readCertificate(root.der)] : [], now)
    expect(harvested.map(([address, { format, certificate: der }]) => [address, format, Buffer.from(der)])).toEqual(
      isHarvested ? [[ALICE, "smime", Buffer.from(own.der)]] : [],
    )
    if (!isHarvested) return
    const harvest = { harvested: () => harvested.map(([, one]) => one) }
    const answer = await harvestedSource(harvest).lookup(parseAddress(ALICE), AbortSignal.timeout(1_000))
    const [candidate] = answer?.candidates ?? []
    expect(candidate).toMatchObject({
      trust: "harvested",
      wish: null,
      place: `mail of ${now.toISOString().slice(0, 10)}`,
    })
    expect(candidate?.chain.map((der) => Buffer.from(der))).toEqual([Buffer.from(middle.der)])
    expect(candidate?.capabilities?.length).toBeGreaterThan(20)
    if (!candidate) throw new Error("no candidate")
    const rules = { at: now, roots: [readCertificate(root.der)], revocation: { kind: "off" }, tags: false } as const
    expect(await judge(candidate, parseAddress(ALICE), rules, AbortSignal.timeout(1_000))).toMatchObject({
      kind: "usable",
    })
  })
})

describe("a signed message in the mailbox", () => {
  test("a repeat is the same octets, whatever is known of keys by then; without the verdict nothing is encrypted with the same key", async () => {
    await using folder = await temporaryFolder()
    const database = openDatabase(folder.file("state.db"), STATE_MIGRATIONS)
    try {
      const part = mail("Content-Type: text/plain", "", "signed").slice(0, -2)
      const binary = await createMessage({ binary: Buffer.from(part) })
      const signature = await sign({
        message: binary,
        signingKeys: alice,
        detached: true,
        date: new Date("2026-11-26T10:00:00Z"),
      })
      const type =
        'Content-Type: multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha512; boundary="b"'
      const tail = ["--b", part, "--b", "Content-Type: application/pgp-signature", "", crlf(signature), "--b--"]
      const message = Buffer.from(
        mail(FROM, DATE, "Authentication-Results: mx.example.test; openpgp=pass", type, "", ...tail),
      )
      const known: KeyCandidate = {
        format: "openpgp",
        octets: alice.toPublic().write(),
        chain: [],
        source: "wkd",
        trust: "domain",
        place: "test",
        wish: null,
        lineage: null,
      }
      const first = await delivered(message, database, [])
      const second = await delivered(message, database, [known])
      expect(outside(first)).toContain("openpgp=neutral")
      expect(outside(first)).not.toContain("openpgp=pass")
      expect(second).toEqual(first)
      database.sql.run`DELETE FROM signature_verdict`
      const third = await delivered(message, database, [known])
      expect(outside(third)).toContain("openpgp=pass")
      expect(ephemeral(third)).not.toBe(ephemeral(first))
    } finally {
      database.close()
    }
  })

  async function delivered(
    octets: Buffer,
    database: ReturnType<typeof openDatabase>,
    candidates: readonly KeyCandidate[],
  ): Promise<Buffer> {
    let stored: Uint8Array = new Uint8Array(0)
    const open: OpenMessage = {
      entry: entryOf(octets, null),
      async *content() {
        yield octets
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
    const gateway = {
      arrivals: examiningArrivals({
        authservId: "mx.example.test",
        keys: { candidates: async () => ({ candidates, silent: false }) },
        rulesAt: (at) => ({ at, roots: [], revocation: { kind: "off" }, tags: false }),
        verdicts: new KeptVerdicts(database),
        peers: new MailKeys(database),
        harvest: new MailKeys(database),
        log: silentLog(),
      }),
      keyserverMail: { stored: async () => undefined },
      mesh: null,
      hostname: "mx.example.test",
      directory: {
        resolve: () => ({ kind: "unknown" }),
        atRest: () => ({
          account: "bob@example.test",
          target: { format: "smime", recipients: [cmsRecipient(certificate)], cipher: "aes-256-cbc" },
          subject: "clear",
          markerKey: new Uint8Array(32),
          restorers: NO_RESTORERS,
        }),
      },
      mailboxes: {
        async deliver(_account: string, message: { content(): AsyncIterable<Uint8Array> }) {
          stored = await collect(message.content())
          return {
            kind: "done",
            status: { recipient: "bob@example.test", action: "delivered", status: "2.0.0", diagnostic: "" },
          }
        },
      },
    } as unknown as Gateway
    const job = jobFor("0123456789", "bob@example.test", AT)
    const recipient = { address: parseAddress("bob@example.test"), notify: null, originalRecipient: null }
    const attempt = { message: open, job, recipient, gateway, signal: new AbortController().signal }
    await store(attempt, { kind: "accounts", accounts: ["bob@example.test"], forwards: [] })
    return Buffer.from(stored)
  }

  const outside = (stored: Buffer): string => stored.toString("latin1").split("\r\n\r\n")[0] ?? ""
  /** The uncompressed point in the KeyAgreeRecipientInfo: another one is another content key. */
  const ephemeral = (stored: Buffer): string => {
    const cms = Buffer.from(stored.toString("latin1").split("\r\n\r\n")[1] ?? "", "base64").toString("hex")
    return /03420004([0-9a-f]{128})/.exec(cms)?.[1] ?? "none"
  }
})
