import { webcrypto } from "node:crypto"
import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { fromBER } from "asn1js"
import { CryptoEngine, EnvelopedData, Certificate as PkijsCertificate, setEngine } from "pkijs"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { deriveEnvelopeSecrets, encryptEnveloped } from "../../src/crypto/cms/enveloped.ts"
import { type CmsRecipient, cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { deriveOpenPgpSecrets, encryptOpenPgp } from "../../src/crypto/openpgp/encrypt.ts"
import { type OpenPgpRecipient, openPgpRecipient, openPgpRecipients } from "../../src/crypto/openpgp/recipient.ts"
import { atHand, collect, type Prepared } from "../../src/pipeline/prepared.ts"
import { classified, type EncryptionTarget } from "../../src/pipeline/protect.ts"
import { ENCRYPTED_ONLY, type OutgoingOptions, protectOutgoing } from "../../src/pipeline/protect-outgoing.ts"
import { makeHolder, makePerson } from "../crypto/cms/alice.ts"
import { mustRun, temporaryFolder } from "../harness/peers.ts"
import { format, type Row } from "./report.ts"

const ROUNDS = 5
const SMALL_OCTETS = 10_240
const LARGE_OCTETS = 25_000_000
/** Above idle. */
const LIMIT_MB = 60
const NOW = new Date("2026-11-21T10:00:00Z")
const OPTIONS: OutgoingOptions = { ...ENCRYPTED_ONLY, headers: "hidden" }

/** Mail that leaves: the whole of protecting it, header fields and all, against what others do for its encryption alone. */
export async function bench(): Promise<Row[]> {
  const holder = makeHolder(makePerson("alice@example.test", "Alice"))
  const key = await makeAccountKey({ name: "Bob", address: "bob@elsewhere.test", createdAt: NOW })
  const { certificate } = holder
  const smime: EncryptionTarget = { format: "smime", recipients: [cmsRecipient(certificate)], cipher: "aes-256-cbc" }
  const openpgp = { format: "openpgp", recipients: [openPgpRecipient(key.certificate)] } as const
  const seipdV2: EncryptionTarget = { ...openpgp, seipd: 2 }
  return [
    await alone("S/MIME envelope", envelope(cmsRecipient(certificate)), await pkijs(certificate.der), 10),
    await alone("OpenPGP message", openPgpMessage(openpgp.recipients), await gpg(key.certificate), 20),
    await small("S/MIME", smime),
    await small("OpenPGP", openpgp),
    await small("OpenPGP, X25519 of version 6 and SEIPD version 2", await v6()),
    await memory("S/MIME", smime),
    await memory("OpenPGP", openpgp),
    await memory("OpenPGP, SEIPD version 2", seipdV2),
  ]
}

interface Peer {
  readonly name: string
  readonly encrypt: () => Promise<unknown>
  readonly rounds: number
}

type Encrypt = (content: Prepared, context: string) => AsyncIterable<Uint8Array>

function envelope(recipient: CmsRecipient): Encrypt {
  return (content, context) =>
    encryptEnveloped(content.content(), {
      contentOctets: content.sizeOctets,
      recipients: [recipient],
      secrets: deriveEnvelopeSecrets(new Uint8Array(32), context),
      cipher: "aes-256-cbc",
    })
}

function openPgpMessage(recipients: readonly OpenPgpRecipient[]): Encrypt {
  return (content, context) =>
    encryptOpenPgp(content.content(), {
      contentOctets: content.sizeOctets,
      recipients,
      secrets: deriveOpenPgpSecrets(new Uint8Array(32), context),
    })
}

/** Encryption and no more, of content that is at hand: which is what the peers do. */
async function alone(name: string, encrypt: Encrypt, peer: Peer, ratio: number): Promise<Row> {
  const source = await atHand(message(SMALL_OCTETS))
  let count = 0
  const ours = () => collect(encrypt(source, `bench ${count++}`))
  return compared(`${name} of 10 KB to one recipient`, ours, peer, ratio)
}

/** The whole of what is done to a message that leaves. */
function small(name: string, target: EncryptionTarget): Promise<Row> {
  const source = message(SMALL_OCTETS)
  let count = 0
  const ours = () => drain(source, target, `recipient ${count++}`)
  return compared(`${name}: 10 KB leaves for one recipient`, ours, null, null)
}

async function compared(
  name: string,
  ours: () => Promise<unknown>,
  peer: Peer | null,
  ratio: number | null,
): Promise<Row> {
  await rate(ours, 1000)
  const row = { ours: [] as number[], peer: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    row.ours.push(await rate(ours, 500))
    if (peer) row.peer.push(await rate(peer.encrypt, peer.rounds))
  }
  return {
    name,
    unit: "messages/s",
    ours: row.ours,
    peer: peer && { name: peer.name, values: row.peer },
    target: ratio === null ? null : { kind: "ratio at least", value: ratio },
  }
}

async function memory(name: string, target: EncryptionTarget): Promise<Row> {
  await drain(message(LARGE_OCTETS), target, "warm")
  const peaks: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const idle = process.memoryUsage.rss()
    let peak = idle
    await drain(message(LARGE_OCTETS), target, `round ${round}`, () => {
      peak = Math.max(peak, process.memoryUsage.rss())
    })
    peaks.push((peak - idle) / 1e6)
  }
  const target_ = { kind: "at most", value: LIMIT_MB } as const
  return { name: `${name}: 25 MB leaves, memory above idle`, unit: "MB", ours: peaks, peer: null, target: target_ }
}

async function drain(source: Prepared, target: EncryptionTarget, context: string, each?: () => void): Promise<void> {
  const seed = new Uint8Array(32).fill(9)
  const outgoing = await protectOutgoing(await classified(source), [], seed, context, target, OPTIONS)
  for await (const _ of outgoing.content()) each?.()
}

/** Made as it is read: what holds it would count. */
function message(sizeOctets: number): Prepared {
  const header = Buffer.from("From: a@b.test\r\nSubject: bench\r\nContent-Type: text/plain\r\n\r\n")
  const piece = Buffer.from(`${"x".repeat(62)}\r\n`.repeat(1024))
  return {
    sizeOctets,
    async *content() {
      yield header
      for (let left = sizeOctets - header.length; left > 0; left -= piece.length)
        yield Uint8Array.from(piece.subarray(0, Math.min(left, piece.length)))
    },
  }
}

async function pkijs(der: Uint8Array): Promise<Peer> {
  setEngine("node", new CryptoEngine({ crypto: webcrypto as unknown as typeof globalThis.crypto, name: "node" }))
  const octets = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer
  const schema = fromBER(octets(readCertificate(der).der)).result
  const certificate = new PkijsCertificate({ schema })
  const content = octets(Buffer.alloc(SMALL_OCTETS, 120))
  const encrypt = async () => {
    const enveloped = new EnvelopedData()
    enveloped.addRecipientByCertificate(certificate, { kdfAlgorithm: "SHA-256", kekEncryptionLength: 256 })
    await enveloped.encrypt({ name: "AES-CBC", length: 256 }, content)
    return enveloped.toSchema().toBER(false)
  }
  return { name: "pkijs", encrypt, rounds: 200 }
}

async function gpg(certificate: Uint8Array): Promise<Peer> {
  const folder = await temporaryFolder()
  const env = { GNUPGHOME: folder.path }
  await mustRun("chmod", ["700", folder.path])
  await mustRun("gpg", ["--batch", "--import"], { env, input: certificate })
  await writeFile(folder.file("message"), Buffer.alloc(SMALL_OCTETS, 120))
  const args = ["--batch", "--yes", "--armor", "--trust-model", "always", "--encrypt", "-r", "bob@elsewhere.test"]
  return {
    name: "gpg --encrypt",
    encrypt: () => mustRun("gpg", [...args, "-o", folder.file("out"), folder.file("message")], { env }),
    rounds: 20,
  }
}

async function v6(): Promise<EncryptionTarget> {
  const { generateKey } = await import("openpgp")
  const { publicKey } = await generateKey({
    userIDs: [{ email: "carol@elsewhere.test" }],
    type: "curve25519",
    config: { v6Keys: true },
    date: NOW,
    format: "binary",
  })
  return { format: "openpgp", recipients: openPgpRecipients(publicKey, NOW), seipd: 2 }
}

/** Calls per second of CPU time of this process, all its threads, and of children that have ended: other load does not count. */
async function rate(work: () => Promise<unknown>, calls: number): Promise<number> {
  const start = cpuMicroseconds()
  for (let call = 0; call < calls; call++) await work()
  return (calls * 1e6) / (cpuMicroseconds() - start)
}

/** proc(5): behind the name in brackets cutime and cstime are fields 14 and 15, in hundredths of a second. */
function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage()
  const stat = readFileSync("/proc/self/stat", "latin1")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return user + system + (Number(fields[13]) + Number(fields[14])) * 10_000
}

if (import.meta.main) for (const each of await bench()) console.log(format(each))
