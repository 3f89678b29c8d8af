import { spawn } from "node:child_process"
import { readFile, writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../src/crypto/cms/certificate.ts"
import { integer, oid, sequence, TAG, tagged, time } from "../../src/crypto/cms/der.ts"
import type { AskWeb, WebRequest } from "../../src/net/web.ts"
import { AnswerMemory } from "../../src/profiles/usable/answer-memory.ts"
import { MAX_CRL_OCTETS, MAX_OCSP_OCTETS, MAX_PLACES, revocationOver } from "../../src/profiles/usable/revocation.ts"
import { type KeyRules, type RevocationStatusOf, readRoots } from "../../src/profiles/usable/rules.ts"
import { AUTHORITY, forMail, type Made, make, type Wanted } from "../harness/authority.ts"
import { mustRun, peer, peerPath, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"
import { candidate, judged, rules, told } from "./judging.ts"

const BOB = "bob@example.test"
const CRL = "http://crl.test/authority.crl"
const OCSP = "http://ocsp.test/"
const HOUR = 3_600_000
const later = (hours: number): Date => new Date(Date.now() + hours * HOUR)

/** Serial numbers, as the authority's index has them. */
const SERIAL = { good: 0x1001, revoked: 0x1002, unlisted: 0x1003 }

let folder: TemporaryFolder
let root: Made
let authority: Made
let other: Made
let responder: Made
let impostor: Made
let list: Uint8Array

beforeAll(async () => {
  folder = await temporaryFolder()
  if (!peer("openssl")) return
  root = await make(folder, { name: "root", extensions: AUTHORITY })
  authority = await make(folder, { name: "authority", by: root, extensions: AUTHORITY })
  other = await make(folder, { name: "other", by: root, extensions: AUTHORITY })
  const signing = ["extendedKeyUsage=OCSPSigning", "keyUsage=digitalSignature", "noCheck=ignored"]
  responder = await make(folder, { name: "responder", by: authority, extensions: signing })
  impostor = await make(folder, { name: "impostor", by: authority, extensions: ["keyUsage=digitalSignature"] })
  await writeFile(folder.file("index"), indexOf())
  await writeFile(folder.file("ca.cnf"), CA_CONFIG.replaceAll("FOLDER", folder.path))
  list = await crl()
})
afterAll(() => folder[Symbol.asyncDispose]())

describe.skipIf(!peer("openssl"))("CRLs of openssl ca", () => {
  const places = [`crlDistributionPoints=URI:${CRL}`]

  test("good, and revoked with its reason", async () => {
    expect(await verdict(await leaf(SERIAL.good, places), serving({ [CRL]: list }))).toBe(
      "usable: Issued under “root”.",
    )
    expect(await verdict(await leaf(SERIAL.revoked, places), serving({ [CRL]: list }))).toBe(
      "rejected: It was revoked on 2026-02-01 (key compromise).",
    )
  })

  test("an authority that is revoked", async () => {
    const revoked = await make(folder, {
      name: "revoked",
      by: authority,
      extensions: [...AUTHORITY, ...places],
      more: serial(SERIAL.revoked),
    })
    const end = await make(folder, { name: "below", by: revoked, extensions: forMail(BOB) })
    expect(await verdict(end, serving({ [CRL]: list }), { chain: [revoked, authority] })).toBe(
      "rejected: Its authority “revoked” was revoked on 2026-02-01 (key compromise).",
    )
  })

  test("too old, of the future, by another authority, spoilt, no list at all: nobody has answered", async () => {
    const end = await leaf(SERIAL.good, places)
    const spoilt = Uint8Array.from(list)
    spoilt[spoilt.length - 1] = (spoilt.at(-1) ?? 0) ^ 1
    const forged = await crl({ signer: other, subject: "/CN=authority" })
    for (const [what, served, at, because] of [
      ["too old", list, later(24 * 8), "the list is too old"],
      ["of the future", await crl({ from: later(48) }), later(1), "the list is from the future"],
      ["of another authority", await crl({ signer: other }), later(1), "it is somebody else's list"],
      ["signed by another key", forged, later(1), "the list's signature is wrong"],
      ["spoilt", spoilt, later(1), "the list's signature is wrong"],
      ["a web page", Buffer.from("<html>"), later(1), "the answer cannot be read (der: element is cut off at octet 0)"],
      [
        "of changes only",
        await crl({ extensions: "deltaCRL=critical,DER:020101" }),
        later(1),
        "it is a list of changes only",
      ],
      [
        "with a critical extension",
        await crl({ extensions: "1.2.3.4=critical,DER:0500" }),
        later(1),
        "it has a critical extension that Postern does not know",
      ],
      [
        "for another place",
        await crl({
          extensions:
            "issuingDistributionPoint=critical,DER:301aa018a01686146874" + "74703a2f2f6f746865722e746573742f612e63",
        }),
        later(1),
        "the list is for another place",
      ],
      [
        "for authorities only",
        await crl({ extensions: "issuingDistributionPoint=critical,DER:30038201ff" }),
        later(1),
        "the list is for authorities only",
      ],
      [
        "indirect",
        await crl({ extensions: "issuingDistributionPoint=critical,DER:30038401ff" }),
        later(1),
        "the list is not about all revocations",
      ],
    ] as const) {
      const asked = { ...serving({ [CRL]: served }), at }
      expect(await verdict(end, asked), what).toBe(
        `undecided: Whether it is revoked could not be learned (${because}).`,
      )
      expect(await verdict(end, asked, { kind: "soft" }), what).toBe(
        `usable: Issued under “root”; whether it is revoked could not be learned (${because}).`,
      )
    }
  })

  test("a list that an administrator gives is enough", async () => {
    expect(
      await verdict(await leaf(SERIAL.good, []), { ...serving({}), lists: [await crl({ signer: other }), list] }),
    ).toMatch(/^usable/)
    expect(await verdict(await leaf(SERIAL.revoked, []), { ...serving({}), lists: [list] })).toMatch(
      /^rejected: It was revoked/,
    )
  })

  test("of two lists that an administrator gives the one that has it counts, in whatever order they stand", async () => {
    const end = await leaf(SERIAL.revoked, [])
    const before = await signedList(sequence())
    expect(await verdict(end, { ...serving({}), lists: [before] })).toMatch(/^usable/)
    for (const lists of [
      [before, list],
      [list, before],
    ])
      expect(await verdict(end, { ...serving({}), lists })).toMatch(/^rejected: It was revoked/)
  })

  test("a list is asked for once, until it is due", async () => {
    const web = serving({ [CRL]: list })
    const cache = new AnswerMemory(1_000_000, () => new Date())
    for (let times = 0; times < 3; times++)
      expect(await verdict(await leaf(SERIAL.good, places), { ...web, cache })).toMatch(/^usable/)
    expect(web.asked).toEqual([CRL])
    const past = new AnswerMemory(1_000_000, () => later(24 * 8))
    for (let times = 0; times < 2; times++) await verdict(await leaf(SERIAL.good, places), { ...web, cache: past })
    expect(web.asked).toHaveLength(3)
  })

  test(`at most ${MAX_PLACES} places, and only web servers`, async () => {
    const urls = ["ldap://a.test/cn=x", ...Array.from({ length: 5 }, (_, at) => `http://crl${at}.test/x`)]
    const web = serving({})
    const end = await leaf(SERIAL.good, [
      `crlDistributionPoints=${urls.map((url) => `URI:${url.replaceAll(",", "")}`).join(",")}`,
    ])
    expect(await verdict(end, web)).toMatch(/^undecided/)
    expect(web.asked).toEqual(urls.slice(1, 1 + MAX_PLACES))
  })

  test("a huge list is gone through, and none is fetched beyond the limit", async () => {
    const entry = (number: number) => sequence(integer(number), time(new Date("2026-01-01T00:00:00Z")))
    const one = entry(0x1000000)
    const entries = Buffer.alloc(one.length * 300_000, one)
    for (let at = 0; at < 300_000; at++) entries.writeUInt32BE(0x1000000 + at, at * one.length + 4)
    const huge = await signedList(tagged(TAG.sequence, entries, entry(SERIAL.revoked)))
    expect(huge.length).toBeLessThan(MAX_CRL_OCTETS)
    expect(await verdict(await leaf(SERIAL.revoked, places), serving({ [CRL]: huge }))).toBe(
      "rejected: It was revoked on 2026-01-01.",
    )
    const endless = serving({ [CRL]: new Uint8Array(MAX_CRL_OCTETS + 1) })
    expect(await verdict(await leaf(SERIAL.good, places), endless)).toBe(
      "undecided: Whether it is revoked could not be learned (crl.test answers too much).",
    )
    expect(endless.limits).toEqual([MAX_CRL_OCTETS])
  })
})

describe.skipIf(!peer("openssl"))("answers of openssl ocsp", () => {
  const places = [`authorityInfoAccess=OCSP;URI:${OCSP}`]

  test("a responder of its own: good, revoked, unknown, and away", async () => {
    const [port = 0] = await freePorts(1)
    const url = `http://127.0.0.1:${port}/`
    const here = [`authorityInfoAccess=OCSP;URI:${url}`]
    const ends = await Promise.all([SERIAL.good, SERIAL.revoked, SERIAL.unlisted].map((number) => leaf(number, here)))
    const answers = async () =>
      Promise.all(ends.map((end) => verdict(end, { ask: overLoopback, asked: [], limits: [] })))
    {
      await using _responder = await ocspResponder(port)
      expect(await answers()).toEqual([
        "usable: Issued under “root”.",
        "rejected: It was revoked on 2026-02-01 (key compromise).",
        "rejected: The responder of its authority does not know it.",
      ])
    }
    for (const answer of await answers())
      expect(answer).toMatch(/^undecided: Whether it is revoked could not be learned \(127\.0\.0\.1:/)
  })

  test("too old, by who may not, about another certificate, spoilt: nobody has answered", async () => {
    const end = await leaf(SERIAL.good, places)
    for (const [what, options, at, because] of [
      ["too old", {}, later(24 * 3), "the answer is too old"],
      ["by somebody without the purpose", { signer: impostor }, later(0.1), "who signed the answer may not"],
      ["by another authority", { signer: other }, later(0.1), "who signed the answer may not"],
      [
        "without the signer's certificate",
        { more: ["-resp_no_certs"] },
        later(0.1),
        "nobody who may signed the answer",
      ],
      [
        "about another",
        { about: await leaf(SERIAL.revoked, places) },
        later(0.1),
        "the answer is about another certificate",
      ],
      ["spoilt", { isSpoilt: true }, later(0.1), "the answer's signature is wrong"],
    ] as const) {
      const line = await verdict(end, { ...answering(options), at })
      expect(line, what).toMatch(/^undecided/)
      expect(line, what).toContain(`(${because})`)
    }
  })

  test("by the authority itself, named by its key", async () => {
    const end = await leaf(SERIAL.good, places)
    for (const more of [["-resp_key_id"], []])
      expect(await verdict(end, answering({ signer: authority, more }))).toMatch(/^usable/)
  })

  test("failures of the responder, and answers beyond the limit", async () => {
    const end = await leaf(SERIAL.good, places)
    for (const [octets, because] of [
      [Uint8Array.of(0x30, 3, 0x0a, 1, 3), "the responder answers “try later”"],
      [Uint8Array.of(0x30, 3, 0x0a, 1, 6), "the responder answers “unauthorized”"],
      [new Uint8Array(MAX_OCSP_OCTETS + 1), "ocsp.test answers too much"],
      [new Uint8Array(0), "the answer cannot be read (der: element is missing at octet 0)"],
    ] as const)
      expect(await verdict(end, serving({ [OCSP]: octets }))).toContain(`(${because})`)
  })

  test("the list helps out where the responder is away or does not know", async () => {
    const both = [...places, `crlDistributionPoints=URI:${CRL}`]
    expect(await verdict(await leaf(SERIAL.good, both), serving({ [CRL]: list }))).toMatch(/^usable/)
    expect(await verdict(await leaf(SERIAL.revoked, both), serving({ [CRL]: list }))).toMatch(/^rejected/)
    const { ask } = answering({})
    const mixed: AskWeb = (asked, signal) =>
      asked.url.href === OCSP ? ask(asked, signal) : serving({ [CRL]: list }).ask(asked, signal)
    expect(await verdict(await leaf(SERIAL.unlisted, both), { ask: mixed, asked: [], limits: [] })).toMatch(/^usable/)
  })
})

describe.skipIf(!peer("openssl"))("where nobody says whether it is revoked", () => {
  test("hard: undecided; soft: remarked; off: not asked", async () => {
    const end = await leaf(SERIAL.good, [])
    const why = "it names no place that says whether it is revoked"
    expect(await verdict(end, serving({}))).toBe(`undecided: It${why.slice(2)}.`)
    expect(await verdict(end, serving({}), { kind: "soft" })).toBe(`usable: Issued under “root”; ${why}.`)
    expect(told(await judged(keyOf(end), BOB, rules({ roots: await roots() })))).toBe("usable: Issued under “root”.")
  })

  test("under a root that the source vouches for, that is enough", async () => {
    const end = await leaf(SERIAL.good, [])
    const by: KeyRules = rules({
      revocation: { kind: "hard", status: revocationOver({ ...serving({}), lists: () => [], cache: nothing }) },
    })
    expect(told(await judged({ ...keyOf(end), anchors: [authority.der] }, BOB, by))).toBe(
      "usable: Issued under “authority”.",
    )
  })

  test("certificates that live too shortly to be revoked say so (RFC 9608)", async () => {
    expect(await verdict(await leaf(SERIAL.good, ["2.5.29.56=DER:0500"]), serving({}))).toBe(
      "usable: Issued under “root”.",
    )
  })

  test("when time is over, that is no answer", async () => {
    const never: AskWeb = (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
    const status = revocationOver({ ask: never, lists: () => [], cache: nothing })
    const end = await leaf(SERIAL.good, [`crlDistributionPoints=URI:${CRL}`])
    const found = await status(
      readCertificate(end.der),
      readCertificate(authority.der),
      new Date(),
      AbortSignal.timeout(20),
    )
    expect(found).toMatchObject({ kind: "unanswered" })
  })
})

test("the memory of answers: due ones are gone, and the oldest make room", () => {
  let now = new Date(0)
  const memory = new AnswerMemory(100, () => now)
  memory.keep("a", new Uint8Array(40), new Date(10))
  memory.keep("b", new Uint8Array(40), new Date(20))
  memory.keep("huge", new Uint8Array(101), new Date(20))
  expect([memory.find("a")?.length, memory.find("b")?.length, memory.find("huge")]).toEqual([40, 40, null])
  memory.keep("c", new Uint8Array(40), new Date(20))
  expect([memory.find("a"), memory.find("b")?.length, memory.find("c")?.length]).toEqual([null, 40, 40])
  now = new Date(20)
  expect([memory.find("b"), memory.find("c")]).toEqual([null, null])
})

interface Web {
  readonly ask: AskWeb
  readonly asked: string[]
  readonly limits: number[]
}

interface Asking extends Web {
  readonly at?: Date
  readonly lists?: readonly Uint8Array[]
  readonly cache?: AnswerMemory
}

const nothing = { find: () => null, keep: () => undefined }

async function verdict(
  end: Made,
  { ask, at = later(0.1), lists = [], cache }: Asking,
  { kind = "hard", chain = [authority] }: { readonly kind?: "soft" | "hard"; readonly chain?: readonly Made[] } = {},
): Promise<string> {
  const status = revocationOver({ ask, lists: () => lists, cache: cache ?? nothing })
  // Of authorities between only the one that is revoked is asked about: the others name no place.
  const isAbout = ({ subject, emailAddresses }: Certificate) =>
    emailAddresses.length > 0 || Buffer.from(subject).includes("revoked")
  const statusOf: RevocationStatusOf = async (certificate, ...rest) =>
    isAbout(certificate) ? status(certificate, ...rest) : { kind: "good", until: null }
  const asked = { kind, status: statusOf }
  const key = candidate("smime", end.der, { chain: chain.map(({ der }) => der) })
  return told(await judged(key, BOB, rules({ roots: await roots(), revocation: asked, at })))
}

function keyOf(end: Made) {
  return candidate("smime", end.der, { chain: [authority.der] })
}

async function roots() {
  return readRoots(await readFile(root.certificateFile, "latin1"))
}

let made = 0
function leaf(number: number, places: readonly string[], more: Partial<Wanted> = {}): Promise<Made> {
  return make(folder, {
    name: `leaf${made++}`,
    by: authority,
    extensions: [...forMail(BOB), ...places],
    more: serial(number),
    ...more,
  })
}

function serial(number: number): string[] {
  return ["-set_serial", String(number)]
}

/** Web servers that have these things and no others. */
function serving(things: Readonly<Record<string, Uint8Array>>): Web {
  const asked: string[] = []
  const limits: number[] = []
  const ask = async ({ url, maxOctets }: WebRequest) => {
    asked.push(url.href)
    limits.push(maxOctets)
    const body = things[url.href]
    return { status: body ? 200 : 404, type: "", body: body ?? new Uint8Array(0), url, retryAfter: null }
  }
  return { ask, asked, limits }
}

const overLoopback: AskWeb = async ({ url, body }, signal) => {
  const method = body ? { method: "POST", headers: { "content-type": body.type }, body: Buffer.from(body.octets) } : {}
  const response = await fetch(url, { ...method, signal })
  return {
    status: response.status,
    type: "",
    body: new Uint8Array(await response.arrayBuffer()),
    url,
    retryAfter: null,
  }
}

interface Answering {
  readonly signer?: Made
  readonly more?: readonly string[]
  /** The certificate that is asked about instead. */
  readonly about?: Made
  /** Its time is another than what was signed. */
  readonly isSpoilt?: boolean
}

/** A web server that has openssl answer each request. */
function answering({ signer = responder, more = [], about, isSpoilt }: Answering): Web {
  const ask: AskWeb = async ({ url, body }) => {
    const [request, response] = [folder.file(`${made++}.req`), folder.file(`${made++}.resp`)]
    if (about)
      await mustRun("openssl", [
        "ocsp",
        "-issuer",
        authority.certificateFile,
        "-cert",
        about.certificateFile,
        "-no_nonce",
        "-reqout",
        request,
      ])
    else await writeFile(request, body?.octets ?? "")
    const by = ["-rsigner", signer.certificateFile, "-rkey", signer.keyFile, "-CA", authority.certificateFile]
    await mustRun("openssl", [
      "ocsp",
      "-index",
      folder.file("index"),
      ...by,
      "-reqin",
      request,
      "-respout",
      response,
      "-ndays",
      "1",
      ...more,
    ])
    const octets = new Uint8Array(await readFile(response))
    // The first GeneralizedTime is producedAt; the last digit of its seconds is changed.
    const lastDigit = Buffer.from(octets).indexOf(Buffer.of(0x18, 0x0f)) + 15
    if (isSpoilt) octets[lastDigit] = (octets[lastDigit] ?? 0) ^ 1
    return { status: 200, type: "", body: octets, url, retryAfter: null }
  }
  return { ask, asked: [], limits: [] }
}

async function ocspResponder(port: number): Promise<AsyncDisposable> {
  const by = ["-rsigner", responder.certificateFile, "-rkey", responder.keyFile, "-CA", authority.certificateFile]
  const child = spawn(
    "openssl",
    ["ocsp", "-index", folder.file("index"), ...by, "-port", String(port), "-ndays", "1"],
    {
      env: { ...process.env, PATH: peerPath() },
    },
  )
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject)
    child.once("close", () => reject(new Error("openssl ocsp ended")))
    const look = (text: Buffer): void => {
      if (/ACCEPT|[Ww]aiting for OCSP/.test(text.toString())) resolve()
    }
    child.stdout.on("data", look)
    child.stderr.on("data", look)
  })
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL")
      await ended
    },
  }
}

interface ListOptions {
  readonly signer?: Made
  /** Name under which it is signed, instead of the signer's own. */
  readonly subject?: string
  readonly from?: Date
  /** One line of x509v3_config(5). */
  readonly extensions?: string
}

async function crl({ signer = authority, subject, extensions, from }: ListOptions = {}): Promise<Uint8Array> {
  const [config, out] = [folder.file(`${made++}.cnf`), folder.file(`${made++}.crl`)]
  const text = await readFile(folder.file("ca.cnf"), "latin1")
  await writeFile(config, `${text}\n[crl]\n${extensions ?? "authorityKeyIdentifier=keyid"}\n`)
  const named =
    subject === undefined
      ? signer
      : await make(folder, { name: `named${made++}`, subject, sameKeyAs: signer, extensions: AUTHORITY })
  await mustRun("openssl", [
    ...["ca", "-config", config, "-gencrl", "-crldays", "7", "-crlexts", "crl"],
    ...(from ? ["-crl_lastupdate", from.toISOString().replace(/[-:T]|\.\d+/g, "")] : []),
    ...["-cert", named.certificateFile, "-keyfile", named.keyFile, "-out", `${out}.pem`],
  ])
  await mustRun("openssl", ["crl", "-in", `${out}.pem`, "-outform", "DER", "-out", out])
  return new Uint8Array(await readFile(out))
}

/** A list of the authority's with these entries: more than `openssl ca` would write in time. */
async function signedList(entries: Uint8Array): Promise<Uint8Array> {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"))
  const { subject } = readCertificate(authority.der)
  const content = sequence(integer(1), algorithm, subject, time(later(-1)), time(later(24)), entries)
  const file = folder.file(`${made++}.tbs`)
  await writeFile(file, content)
  const signature = await mustRun("openssl", ["dgst", "-sha256", "-sign", authority.keyFile, file])
  return sequence(content, algorithm, Buffer.concat([Uint8Array.of(3, signature.length + 1, 0), signature]))
}

/** index.txt of openssl ca: status, expiry, revocation, serial, file, name. */
function indexOf(): string {
  const number = (value: number) => value.toString(16).toUpperCase()
  return [
    ["V", "360101000000Z", "", number(SERIAL.good), "unknown", "/CN=good"],
    ["R", "360101000000Z", "260201000000Z,keyCompromise", number(SERIAL.revoked), "unknown", "/CN=revoked"],
  ]
    .map((fields) => `${fields.join("\t")}\n`)
    .join("")
}

const CA_CONFIG = `[ca]
default_ca = one
[one]
database = FOLDER/index
default_md = sha256
`
