import { webcrypto } from "node:crypto"
import { writeFile } from "node:fs/promises"
import { fromBER } from "asn1js"
import { Certificate, CryptoEngine, EnvelopedData, setEngine } from "pkijs"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { openPgpRecipient, openPgpRecipients } from "../../src/crypto/openpgp/recipient.ts"
import type { Prepared } from "../../src/pipeline/prepared.ts"
import type { EncryptionTarget } from "../../src/pipeline/protect.ts"
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
  const smime: EncryptionTarget = { format: "smime", certificates: [holder.certificate], cipher: "aes-256-cbc" }
  const openpgp: EncryptionTarget = { format: "openpgp", recipients: [openPgpRecipient(key.certificate)] }
  const seipdV2: EncryptionTarget = { ...openpgp, seipd: 2 }
  return [
    await small(
      "S/MIME",
      smime,
      { name: "pkijs", encrypt: await pkijs(holder.certificate.der), rounds: 200, isProcess: false },
      10,
    ),
    await small("OpenPGP", openpgp, { name: "gpg --encrypt", ...(await gpg(key.certificate)) }, 20),
    await small("OpenPGP, X25519 of version 6 and SEIPD version 2", await v6(), null, null),
    await memory("S/MIME", smime),
    await memory("OpenPGP", openpgp),
    await memory("OpenPGP, SEIPD version 2", seipdV2),
  ]
}

interface Peer {
  readonly name: string
  readonly encrypt: () => Promise<unknown>
  readonly rounds: number
  /** Other processes' CPU time is not ours to see: there the clock counts, for both. */
  readonly isProcess: boolean
}

async function small(name: string, target: EncryptionTarget, peer: Peer | null, ratio: number | null): Promise<Row> {
  let count = 0
  const ours = () => drain(message(SMALL_OCTETS), target, `recipient ${count++}`)
  const rate = peer?.isProcess ? wallRate : cpuRate
  await rate(ours, 500)
  const row = { ours: [] as number[], peer: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    row.ours.push(await rate(ours, 500))
    if (peer) row.peer.push(await rate(peer.encrypt, peer.rounds))
  }
  return {
    name: `${name}: 10 KB to one recipient`,
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
  const outgoing = await protectOutgoing(source, [], seed, context, target, OPTIONS)
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

async function pkijs(der: Uint8Array): Promise<() => Promise<unknown>> {
  setEngine("node", new CryptoEngine({ crypto: webcrypto as unknown as typeof globalThis.crypto, name: "node" }))
  const octets = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer
  const schema = fromBER(octets(readCertificate(der).der)).result
  const certificate = new Certificate({ schema })
  const content = octets(Buffer.alloc(SMALL_OCTETS, 120))
  return async () => {
    const enveloped = new EnvelopedData()
    enveloped.addRecipientByCertificate(certificate, { kdfAlgorithm: "SHA-256", kekEncryptionLength: 256 })
    await enveloped.encrypt({ name: "AES-CBC", length: 256 }, content)
    return enveloped.toSchema().toBER(false)
  }
}

async function gpg(certificate: Uint8Array): Promise<Omit<Peer, "name">> {
  const folder = await temporaryFolder()
  const env = { GNUPGHOME: folder.path }
  await mustRun("chmod", ["700", folder.path])
  await mustRun("gpg", ["--batch", "--import"], { env, input: certificate })
  await writeFile(folder.file("message"), Buffer.alloc(SMALL_OCTETS, 120))
  const args = ["--batch", "--yes", "--armor", "--trust-model", "always", "--encrypt", "-r", "bob@elsewhere.test"]
  return {
    encrypt: () => mustRun("gpg", [...args, "-o", folder.file("out"), folder.file("message")], { env }),
    rounds: 10,
    isProcess: true,
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

/** Calls per second of this process's CPU time, all its threads together: other load does not count. */
async function cpuRate(work: () => Promise<unknown>, calls: number): Promise<number> {
  const start = process.cpuUsage()
  for (let call = 0; call < calls; call++) await work()
  const { user, system } = process.cpuUsage(start)
  return (calls * 1e6) / (user + system)
}

async function wallRate(work: () => Promise<unknown>, calls: number): Promise<number> {
  const start = performance.now()
  for (let call = 0; call < calls; call++) await work()
  return (calls * 1000) / (performance.now() - start)
}

if (import.meta.main) for (const each of await bench()) console.log(format(each))
