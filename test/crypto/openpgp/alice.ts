import { existsSync } from "node:fs"
import { mkdir, symlink } from "node:fs/promises"
import { addSigningSubkey, type MadeSigningSubkey, makeAccountKey } from "../../../src/crypto/openpgp/account-key.ts"
import { armor, dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { deriveOpenPgpSecrets, encryptOpenPgp, openPgpRecipient } from "../../../src/crypto/openpgp/encrypt.ts"
import { randomX25519Scalar, x25519SharedKey } from "../../../src/crypto/primitives/x25519.ts"
import { type Finished, peer, run, type TemporaryFolder } from "../../harness/peers.ts"

/** An hour ago: RNP's and GnuPG's clocks are the machine's. */
export const NOW = new Date(Math.floor(Date.now() / 1000) * 1000 - 3_600_000)

export interface Alice {
  readonly account: MadeSigningSubkey
  readonly keyId: string
  readonly deviceScalar: Uint8Array
  /** k = a/b as a clamped X25519 scalar. */
  readonly recryptionScalar: Uint8Array
}

/** A fresh account with one device, scalars split here with big integers: independent of src/crypto/recryption. */
export async function makeAlice(): Promise<Alice> {
  const made = await makeAccountKey({ name: "Alice Example", address: "alice@example.test", createdAt: NOW })
  const account = await addSigningSubkey(made.secretKey, NOW)
  for (;;) {
    const deviceScalar = randomX25519Scalar()
    const m = (number(made.scalar) * inverse(number(deviceScalar)) * inverse(8n)) % ORDER
    if (m < 2n ** 251n) continue
    const recryptionScalar = octets(8n * m)
    return { account, keyId: Buffer.from(made.encryption.keyId).toString("hex"), deviceScalar, recryptionScalar }
  }
}

/** What the account's certificate makes of `content` given in `pieces` octets at a time. */
export async function encrypted(
  content: Uint8Array,
  certificates: readonly Uint8Array[],
  seed = new Uint8Array(32),
  pieces = content.length,
): Promise<Uint8Array> {
  const recipients = certificates.map((certificate) => openPgpRecipient(certificate))
  const secrets = deriveOpenPgpSecrets(seed, "test")
  const parts = []
  const options = { contentOctets: content.length, recipients, secrets }
  for await (const part of encryptOpenPgp(inPieces(content, pieces), options)) parts.push(part)
  return Buffer.concat(parts)
}

export async function* inPieces(content: Uint8Array, pieces: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += pieces) yield content.subarray(at, at + pieces)
}

/** Replaces the ephemeral point of the first packet, a PKESK of two octets' header, by its product with `scalar`. */
export function recrypted(message: Uint8Array, scalar: Uint8Array): Uint8Array {
  const binary = Buffer.from(dearmor(message)?.binary ?? [])
  const point = binary.subarray(15, 47)
  point.set(x25519SharedKey(scalar, Uint8Array.from(point)))
  return armor(binary, "MESSAGE")
}

/** A scalar of big-endian octets, turned round. */
export function littleEndian(hexadecimal: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hexadecimal, "hex").reverse())
}

/** One OpenPGP program that opens messages with one key of its own. */
export interface Reader {
  readonly name: string
  readonly there: boolean
  open(folder: TemporaryFolder, key: string, password: string, message: string): Promise<Finished>
}

const THUNDERBIRD_LIBRNP = "/usr/lib/thunderbird/librnp.so"

export const READERS: readonly Reader[] = [
  { name: "rnp", there: peer("rnp"), open: (folder, ...rest) => openWithRnp(folder, {}, ...rest) },
  {
    name: "rnp with Thunderbird's librnp",
    there: peer("rnp") && libraryIsThere(),
    open: async (folder, ...rest) => {
      if (!existsSync(folder.file("librnp.so.0"))) await symlink(THUNDERBIRD_LIBRNP, folder.file("librnp.so.0"))
      return openWithRnp(folder, { LD_LIBRARY_PATH: folder.path }, ...rest)
    },
  },
  {
    name: "sq",
    there: peer("sq"),
    open: (_folder, key, _password, message) => run("sq", ["decrypt", "--recipient-key", key, message]),
  },
]

async function openWithRnp(
  folder: TemporaryFolder,
  env: Record<string, string>,
  key: string,
  password: string,
  message: string,
): Promise<Finished> {
  const home = ["--homedir", await rnpHome(folder, "rnp")]
  const imported = await run("rnpkeys", [...home, "--import-key", key], { env })
  if (imported.code !== 0) return imported
  return run("rnp", [...home, "--password", password, "--decrypt", "--output", "-", message], { env })
}

/** RNP makes the files in its home, not the home. */
export async function rnpHome(folder: TemporaryFolder, name: string): Promise<string> {
  await mkdir(folder.file(name), { recursive: true })
  return folder.file(name)
}

/** For comparing: a difference in text can be read. */
export function text(octets: Uint8Array): string {
  return Buffer.from(octets).toString("latin1")
}

function libraryIsThere(): boolean {
  if (existsSync(THUNDERBIRD_LIBRNP)) return true
  if (process.env["CI"]) throw new Error("Thunderbird's librnp is not installed, and CI is set")
  return false
}

/** Order of the group of Curve25519 (RFC 7748 §4.1). */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n

/** By Fermat: the order is prime. */
function inverse(value: bigint): bigint {
  let result = 1n
  let square = value % ORDER
  for (let power = ORDER - 2n; power > 0n; power >>= 1n) {
    if (power & 1n) result = (result * square) % ORDER
    square = (square * square) % ORDER
  }
  return result
}

function number(scalar: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(scalar).reverse().toString("hex")}`)
}

function octets(value: bigint): Uint8Array {
  return littleEndian(value.toString(16).padStart(64, "0"))
}
