/** PURE. Autocrypt Level 1 (autocrypt.org/level1.html): keys in header fields of mail, and what is remembered of who sent them. */
import { GatewayError } from "../errors.ts"
import { type Address, addressKey, parseAddress } from "../message/address.ts"
import { type Field, fieldText } from "../mime/header.ts"
import type { Wish } from "./key.ts"

/** What a valid Autocrypt field says. */
export interface AutocryptHeader {
  /** prefer-encrypt=mutual: wants encryption with everybody who wants it, too. */
  readonly isMutual: boolean
  /** Of one OpenPGP certificate, not looked at yet. */
  readonly certificate: Uint8Array
}

/** What is remembered of an address (Level 1 §2.1). */
export interface AutocryptPeer extends AutocryptHeader {
  /** Effective date of the newest message with the field. */
  readonly saidAt: Date
  /** Effective date of the newest message. */
  readonly seenAt: Date
}

/** Level 1 asks for fields below 10 KiB; longer certificates than this are not meant to come with every message. */
export const MAX_AUTOCRYPT_OCTETS = 65_536
/** A field for each address of a sender; more are no slip. */
export const MAX_AUTOCRYPT_FIELDS = 8

/** The one valid Autocrypt field for this author; null when there is none, or more than one (Level 1 §1.3, §2.3). */
export function readAutocrypt(fields: readonly Field[], author: Address): AutocryptHeader | null {
  const written = fields.filter(({ name }) => name === "autocrypt")
  if (written.length > MAX_AUTOCRYPT_FIELDS) return null
  const [header, ...more] = written.flatMap((field) => parsed(field, author) ?? [])
  return header === undefined || more.length > 0 ? null : header
}

/**
 * What a message changes of what is remembered of its author (Level 1 §2.3). What is older than what is known does not count.
 * @param effective when the message was written, or received if that is earlier
 * @returns null: nothing
 */
export function updatedPeer(
  known: AutocryptPeer | null,
  header: AutocryptHeader | null,
  effective: Date,
): AutocryptPeer | null {
  if (known !== null && effective.getTime() < known.saidAt.getTime()) return null
  const seenAt = later(effective, known?.seenAt ?? effective)
  if (header !== null) return { ...header, saidAt: effective, seenAt }
  // When exactly does not matter: it is compared with weeks.
  const isNews = known !== null && seenAt.getTime() - known.seenAt.getTime() >= SEEN_EVERY_MS
  return isNews ? { ...known, seenAt } : null
}

/**
 * What the holder of the key wants (Level 1 §2.4): who does not ask for encryption gets it only where policy demands it, as does somebody whose newer mail
 * has no field any more: the program that could read it may be gone.
 */
export function autocryptWish({ isMutual, saidAt, seenAt }: AutocryptPeer): Wish {
  const isStale = seenAt.getTime() - saidAt.getTime() > STALE_MS
  return isMutual && !isStale ? "prefer" : "clear"
}

//   Autocrypt: addr=a@b.example; [prefer-encrypt=mutual;] keydata=BASE64     Level 1 §1.1
function parsed(field: Field, author: Address): AutocryptHeader | null {
  if (field.octets.length > 2 * MAX_AUTOCRYPT_OCTETS) return null
  const attributes = new Map<string, string>()
  for (const part of fieldText(field).split(";")) {
    if (part.trim() === "") continue
    const equals = part.indexOf("=")
    const name = part.slice(0, Math.max(0, equals)).trim().toLowerCase()
    // What does not begin with an underscore is critical: who does not know it must not use the field.
    if (!name.startsWith("_") && (!KNOWN.includes(name) || attributes.has(name))) return null
    attributes.set(name, part.slice(equals + 1).trim())
  }
  const keydata = (attributes.get("keydata") ?? "").replace(/\s/g, "")
  if (!isOf(attributes.get("addr") ?? "", author) || keydata === "" || !BASE64.test(keydata)) return null
  const certificate = new Uint8Array(Buffer.from(keydata, "base64"))
  if (certificate.length > MAX_AUTOCRYPT_OCTETS) return null
  return { isMutual: attributes.get("prefer-encrypt") === "mutual", certificate }
}

function isOf(written: string, author: Address): boolean {
  try {
    return addressKey(parseAddress(written)) === addressKey(author)
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}

function later(a: Date, b: Date): Date {
  return a.getTime() > b.getTime() ? a : b
}

const KNOWN: readonly string[] = ["addr", "prefer-encrypt", "keydata"]
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const SEEN_EVERY_MS = 86_400_000
/** Level 1 §2.4: 35 days. */
const STALE_MS = 35 * 86_400_000
