import { p256PublicPoint, randomP256Scalar } from "../../src/crypto/primitives/p256.ts"
import { randomX25519Scalar, x25519PublicKey } from "../../src/crypto/primitives/x25519.ts"
import { x25519Multiplication } from "../../src/crypto/primitives/x25519-recrypt.ts"
import { RecryptionStream } from "../../src/crypto/recryption/stream.ts"
import { ascii, lines } from "../crypto/recryption/feeding.ts"
import { base64, cms, dev1 } from "../crypto/recryption/vectors.ts"
import { run } from "../harness/peers.ts"
import { format, type Row } from "./report.ts"

const ROUNDS = 5
const OPERATIONS = 3_000
const LARGE_OCTETS = 50_000_000
const CHUNK_OCTETS = 65_536

/**
 * Recryption against OpenSSL's own speed test on the same machine in the same run. CPU time of this thread, as openssl counts its own:
 * other load does not count for either.
 */
export async function bench(): Promise<Row[]> {
  const block = base64(cms.messages[1]?.original ?? "")
  const message = ascii(`From: a@example.org\r\n\r\n${lines(block)}`)
  const x25519 = x25519Multiplication(randomX25519Scalar())
  const point = x25519PublicKey(randomX25519Scalar())
  const works = {
    block: () => dev1.recrypt(block),
    message: () => stream(message),
    x25519: () => x25519(point),
    splitting: () => p256PublicPoint(randomP256Scalar()),
  }
  const ours: Record<keyof typeof works, number[]> = { block: [], message: [], x25519: [], splitting: [] }
  const openssl: { p256: number[]; x25519: number[] } = { p256: [], x25519: [] }
  for (const work of Object.values(works)) rate(work, OPERATIONS)
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of ["block", "message", "x25519"] as const) ours[name].push(rate(works[name], OPERATIONS))
    const speed = await opensslSpeed()
    openssl.p256.push(speed.p256)
    openssl.x25519.push(speed.x25519)
  }
  const peer = { name: "openssl speed ecdhp256", values: openssl.p256 }
  return [
    row("CMS block recrypted (P-256)", "operations/s", ours.block, peer, 0.4),
    row("S/MIME message recrypted (base64, 600 octets, stream and all)", "messages/s", ours.message, peer, null),
    row("X25519 point", "operations/s", ours.x25519, { name: "openssl speed ecdhx25519", values: openssl.x25519 }, 0.4),
    ...throughput(),
  ]
}

function row(name: string, unit: string, ours: readonly number[], peer: Row["peer"], ratio: number | null): Row {
  return { name, unit, ours, peer, target: ratio === null ? null : { kind: "ratio at least", value: ratio } }
}

/** Content that is no block of ours, against copying it. */
function throughput(): Row[] {
  const contents: [name: string, line: string][] = [
    ["base64 lines", `${"QUJD".repeat(19)}\r\n`],
    ["short paragraphs", "Many years later,\r\nas he faced\r\n\r\n"],
    ["binary", "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0b".repeat(30)],
  ]
  return contents.map(([name, line]) => {
    const large = Buffer.alloc(LARGE_OCTETS, line, "latin1")
    const copied: number[] = []
    const streamed: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      copied.push(megabytes(() => Buffer.from(large)))
      streamed.push(megabytes(() => stream(large)))
    }
    return row(`${name} through the stream`, "MB/s", streamed, { name: "memcpy", values: copied }, null)
  })
}

function stream(octets: Uint8Array): void {
  const recryption = new RecryptionStream([dev1])
  for (let at = 0; at < octets.length; at += CHUNK_OCTETS) recryption.push(octets.subarray(at, at + CHUNK_OCTETS))
  recryption.end()
}

function megabytes(work: () => void): number {
  return (LARGE_OCTETS / 1e6) * rate(work, 1)
}

/** Calls per second of this thread's CPU time. */
function rate(work: () => unknown, calls: number): number {
  const start = process.threadCpuUsage()
  for (let call = 0; call < calls; call++) work()
  const { user, system } = process.threadCpuUsage(start)
  return (calls * 1e6) / (user + system)
}

async function opensslSpeed(): Promise<{ p256: number; x25519: number }> {
  const { stdout } = await run("openssl", ["speed", "-seconds", "1", "ecdhp256", "ecdhx25519"])
  const operations = (curve: string): number => {
    const match = new RegExp(`ecdh \\(${curve}\\)\\s+\\S+\\s+([\\d.]+)`).exec(Buffer.from(stdout).toString())
    if (!match) throw new Error(`openssl speed says nothing of ${curve}`)
    return Number(match[1])
  }
  return { p256: operations("nistp256"), x25519: operations("X25519") }
}

if (import.meta.main) for (const each of await bench()) console.log(format(each))
