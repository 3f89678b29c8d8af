import type { Key } from "openpgp"
import { GatewayError } from "../../errors.ts"
import { dearmor } from "./armor.ts"
import { library } from "./library.ts"
import { PACKET, readPackets } from "./packet.ts"
import { readSignature, type Signature } from "./signature.ts"
import { readTransferable } from "./transferable.ts"

/** What became of checking a signature. `because`: one clause for people. */
export type OpenPgpChecked =
  /** By a key of this certificate (its fingerprint in hexadecimal), which has these user ids. */
  | {
      readonly kind: "good"
      readonly certificate: Uint8Array
      readonly fingerprint: string
      readonly userIds: readonly string[]
    }
  /** None of the certificates has its key. */
  | { readonly kind: "unknown"; readonly because: string }
  | { readonly kind: "wrong" | "refused" | "malformed"; readonly because: string }

/**
 * A text in the cleartext signature framework (RFC 9580 §7), as octets in UTF-8, and the armored signature behind it.
 * @returns null when there is no such text, or when anything stands before or behind it
 * @throws GatewayError OPENPGP_MALFORMED when it begins as one and is none
 */
export function readCleartext(
  octets: Uint8Array,
): { readonly signed: Uint8Array; readonly signature: Uint8Array } | null {
  const lines = Buffer.from(octets).toString("latin1").trim().split(/\r?\n/)
  if (lines[0]?.trimEnd() !== BEGIN_CLEARTEXT) return null
  const empty = lines.findIndex((line) => line.trim() === "")
  // RFC 9580 §7: nothing but Hash may stand there. Readers show it, and nobody signs it.
  if (empty < 0 || !lines.slice(1, empty).every((line) => HASH_HEADER.test(line))) throw malformed("armor headers")
  const begin = lines.findIndex((line) => line.trimEnd() === BEGIN_SIGNATURE)
  const end = lines.findIndex((line) => line.trimEnd() === END_SIGNATURE)
  if (begin < empty || end < begin) throw malformed("no signature")
  if (end !== lines.length - 1) return null
  const text = lines
    .slice(empty + 1, begin)
    .map(unescaped)
    .join("\r\n")
  return { signed: Buffer.from(text, "latin1"), signature: Buffer.from(lines.slice(begin).join("\r\n"), "latin1") }
}

/**
 * Checks a signature, armored or binary, over `content` with the certificates that are known for whoever is to have made it. The certificate must
 * allow signing, and be neither revoked nor expired, both when the signature was made and `at`.
 * @param micalg of RFC 3156 §5, lower case; empty when it is not said
 */
export async function checkOpenPgp(
  content: Uint8Array,
  signature: Uint8Array,
  certificates: readonly Uint8Array[],
  at: Date,
  micalg = "",
): Promise<OpenPgpChecked> {
  const read = readOne(signature)
  if ("kind" in read) return read
  if (contradicts(micalg, read.signature.hashAlgorithm))
    return { kind: "refused", because: "micalg names another hash than the signature" }
  if (read.signature.type === TEXT && !isUtf8(content)) return { kind: "refused", because: "its text is not UTF-8" }
  let last: OpenPgpChecked = { kind: "unknown", because: "no certificate of the signing key is known" }
  for (const certificate of certificates) {
    if (!hasKey(certificate, read.signature)) continue
    last = await checkWith(content, read.packets, certificate, at)
    if (last.kind === "good") return last
  }
  return last
}

/** A name that nobody knows is passed over. */
function contradicts(micalg: string, hash: number): boolean {
  const known = MICALGS.get(micalg)
  return known !== undefined && known !== hash
}

type Refusal = Extract<OpenPgpChecked, { readonly because: string }>

interface ReadSignature {
  readonly packets: Uint8Array
  readonly signature: Signature
}

/** One signature of a kind that counts. */
function readOne(octets: Uint8Array): ReadSignature | Refusal {
  try {
    const packets = signatureOctets(octets)
    const [packet, ...more] = readPackets(packets)
    if (packet === undefined || [packet, ...more].some(({ tag }) => tag !== PACKET.signature))
      return { kind: "malformed", because: "what stands in its place is no signature" }
    if (more.length > 0) return { kind: "refused", because: "it has several signatures" }
    const signature = readSignature(packet)
    if (signature === null || (signature.type !== BINARY && signature.type !== TEXT))
      return { kind: "refused", because: "the signature is of a kind that does not count" }
    if (WEAK_HASHES.includes(signature.hashAlgorithm))
      return { kind: "refused", because: "it is signed with a weak hash" }
    return { packets, signature }
  } catch (error) {
    if (error instanceof GatewayError) return { kind: "malformed", because: "the signature cannot be read" }
    throw error
  }
}

/** RFC 9580 §4.2: a packet begins with an octet from 80 on, armor with text. */
function signatureOctets(octets: Uint8Array): Uint8Array {
  if ((octets[0] ?? 0) >= 0x80) return octets
  const armored = dearmor(octets)
  if (armored?.label !== "SIGNATURE") throw malformed("no signature in armor")
  return armored.binary
}

function hasKey(certificate: Uint8Array, { issuer }: Signature): boolean {
  try {
    const { primary, subkeys } = readTransferable(certificate)
    return issuer !== null && [primary, ...subkeys].some(({ key }) => Buffer.compare(key.keyId, issuer) === 0)
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}

async function checkWith(
  content: Uint8Array,
  signature: Uint8Array,
  certificate: Uint8Array,
  at: Date,
): Promise<OpenPgpChecked> {
  const { createMessage, readKey, readSignature: read, verify } = await library()
  const key = await readKey({ binaryKey: certificate }).catch(() => null)
  if (key === null) return { kind: "refused", because: "the certificate of the signing key cannot be read" }
  const parsed = await read({ binarySignature: signature }).catch(() => null)
  if (parsed === null) return { kind: "malformed", because: "the signature cannot be read" }
  const [issuer] = parsed.getSigningKeyIDs()
  if (!(await key.getSigningKey(issuer, at).then(Boolean, () => false)))
    return { kind: "refused", because: "the signing key is revoked or expired, or may not sign" }
  const message = await createMessage({ binary: content })
  // Clocks differ: what was signed a moment from now was signed now.
  const date = new Date(at.getTime() + CLOCK_SKEW_MS)
  const { signatures } = await verify({ message, signature: parsed, verificationKeys: key, date, format: "binary" })
  const isGood = await (signatures[0]?.verified ?? Promise.resolve(false)).catch(() => false)
  if (!isGood) return { kind: "wrong", because: "the signature is wrong" }
  return { kind: "good", certificate, fingerprint: key.getFingerprint(), userIds: await userIdsOf(key, at) }
}

/** User ids that the key itself vouches for, not revoked. */
async function userIdsOf(key: Key, at: Date): Promise<string[]> {
  const checked = key.users.slice(0, MAX_USER_IDS).map(async (user) => {
    const isGood = await user.verify(at).catch(() => false)
    return isGood && user.userID !== null ? [user.userID.userID] : []
  })
  return (await Promise.all(checked)).flat()
}

/** RFC 9580 §7.1, §7.2: dashes are escaped, blanks at the end of a line are not signed. */
function unescaped(line: string): string {
  if (line.startsWith("-") && !line.startsWith("- ")) throw malformed("a line begins with a dash")
  return line.replace(/^- /, "").replace(/(?<![ \t])[ \t]+$/, "")
}

function isUtf8(octets: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(octets)
    return true
  } catch {
    return false
  }
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `cleartext: ${what}`)
}

export const BEGIN_CLEARTEXT = "-----BEGIN PGP SIGNED MESSAGE-----"
const BEGIN_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
const END_SIGNATURE = "-----END PGP SIGNATURE-----"
const HASH_HEADER = /^Hash: [A-Za-z0-9, -]{1,100}$/
/** Signature types (RFC 9580 §5.2.1). */
const BINARY = 0x00
const TEXT = 0x01
/** MD5, SHA-1, RIPEMD-160 (RFC 9580 §9.5). */
const WEAK_HASHES: readonly number[] = [1, 2, 3]
/** RFC 9580 §9.5, RFC 3156 §5. */
const MICALGS: ReadonlyMap<string, number> = new Map([
  ["pgp-md5", 1],
  ["pgp-sha1", 2],
  ["pgp-ripemd160", 3],
  ["pgp-sha256", 8],
  ["pgp-sha384", 9],
  ["pgp-sha512", 10],
  ["pgp-sha224", 11],
])
const CLOCK_SKEW_MS = 3_600_000
/** Each costs a verification. */
const MAX_USER_IDS = 32
