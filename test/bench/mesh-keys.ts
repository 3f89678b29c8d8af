import { ed448, x448 } from "@noble/curves/ed448.js"
import type { PrivateKey } from "../../src/crypto/mesh-keys/key.ts"
import { scalarKey } from "../../src/crypto/mesh-keys/sum.ts"
import { agreementOf, contributionOf, ephemeralOf, signerOf } from "../../src/crypto/mesh-keys/use.ts"
import { fromLittleEndian } from "../../src/crypto/primitives/modular.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { agreementContribution, combineAgreement } from "../../src/crypto/threshold/agreement.ts"
import { format, type Row } from "./report.ts"

const ROUNDS = 5
const OPERATIONS = 100
/** What is signed of an envelope: algorithm and digest. */
const MANIFEST = new Uint8Array(72)

/**
 * Keys of the Mesh on X448 and Ed448: numbers, which OpenSSL has no form for, against keys in its own form and against arithmetic in
 * JavaScript. CPU time of this thread.
 */
export async function bench(): Promise<Row[]> {
  const [number, other, ephemeral] = [randomNumber(), randomNumber(), randomNumber()]
  const point = contributionOf(ephemeral).octets
  const [agree, contribute] = [agreementOf(number), agreementContribution(number)]
  const parts = [contribute(point), agreementContribution(other)(point)]
  const secret = randomOctets(56)
  const seed: PrivateKey = { kind: "seed", curve: "Ed448", octets: randomOctets(57) }
  const [sign, signNative] = [signerOf({ ...seed, octets: secret }), signerOf(seed)]
  return [
    row(
      "X448 agreement by a number",
      () => agree(point),
      ["noble", () => x448.scalarMult(secret, point.subarray(0, 56))],
      10,
    ),
    row(
      "X448 ephemeral key made and agreed with",
      () => ephemeralOf("X448", randomOctets(56)).agree(point),
      null,
      null,
    ),
    row(
      "X448 contribution of a share",
      () => contribute(point),
      ["noble x448", () => x448.scalarMult(secret, point.subarray(0, 56))],
      2,
    ),
    row("X448 two contributions combined", () => combineAgreement("X448", parts), null, null),
    row("Ed448 signature by a number", () => sign(MANIFEST), ["OpenSSL's form", () => signNative(MANIFEST)], 0.4),
    row("Ed448 signature by a number", () => sign(MANIFEST), ["noble", () => ed448.sign(MANIFEST, seed.octets)], 3),
  ]
}

function randomNumber(): PrivateKey {
  return scalarKey("X448", fromLittleEndian(randomOctets(64)))
}

function row(
  name: string,
  work: () => unknown,
  peer: [name: string, work: () => unknown] | null,
  ratio: number | null,
): Row {
  const ours: number[] = []
  const theirs: number[] = []
  rate(work)
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(rate(work))
    if (peer) theirs.push(rate(peer[1]))
  }
  return {
    name,
    unit: "operations/s",
    ours,
    peer: peer && { name: peer[0], values: theirs },
    target: ratio === null ? null : { kind: "ratio at least", value: ratio },
  }
}

/** Calls per second of this thread's CPU time. */
function rate(work: () => unknown): number {
  const start = process.threadCpuUsage()
  for (let call = 0; call < OPERATIONS; call++) work()
  const { user, system } = process.threadCpuUsage(start)
  return (OPERATIONS * 1e6) / (user + system)
}

if (import.meta.main) for (const each of await bench()) console.log(format(each))
