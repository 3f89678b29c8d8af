/** PURE. Reverse-paths of what is forwarded (Sender Rewriting Scheme, Meng Weng Wong, 2003): they say in whose name it is sent on, and whom a bounce is for. */

import { equalConstantTime, type HmacKey, hmacSha256 } from "../crypto/primitives/hash.ts"
import { base32Encode } from "../crypto/udf/base32.ts"
import { hasCode } from "../errors.ts"
import { type Address, formatAddress, parseAddress } from "./address.ts"

/** What makes addresses of ours, and tells them from others. */
export interface SrsMeans {
  readonly key: HmacKey
  readonly now: Date
}

/** What SRS0 tells beside the sender. */
interface SrsForward {
  /** The day (UTC) on which it was sent on. */
  readonly day: Date
  /** The name under which it is kept elsewhere what it had come for; null: it was made without one. */
  readonly cameFor: string | null
}

/** Whom an address of ours stands for. `token`: for a sender who is kept elsewhere under this name. `forwarder`: by SRS1, for the first one. */
export type SrsMeaning =
  | (SrsForward & { readonly kind: "sender"; readonly sender: Address })
  | (SrsForward & { readonly kind: "token"; readonly token: string })
  | { readonly kind: "forwarder"; readonly sender: Address }

/**
 * The reverse-path under `domain`, one of ours, of what comes from somebody elsewhere:
 * `SRS0=HHHHHHHH=TTNNNNNN=sender-domain=sender-local-part`, or for one that another forwarder has made so
 * `SRS1=HHHHHHHH=first-forwarder==HHH=TT=…`, which leads back to the first of them.
 * @param cameFor N, the name of what it had come for: {@link SRS_NAME_CHARACTERS} of base 32; null: none, and no room is taken for it
 * @returns null when there is no room for it (RFC 5321 §4.5.3.1.1)
 */
export function srsAddress(sender: Address, domain: string, cameFor: string | null, means: SrsMeans): Address | null {
  const day = dayOf(means.now)
  const made = forwarded(sender)
  if (made === null) return addressOr(srs0(day, cameFor, [sender.domain, sender.localPart], domain, means), domain)
  const { host, rest } = made
  return addressOr(`SRS1=${hashOf("srs1", day, [host, rest], domain, means)}=${host}=${rest}`, domain)
}

/** The first forwarder, and what he knows it by; null: it is nothing that one has made. */
function forwarded({ localPart, domain }: Address): { readonly host: string; readonly rest: string } | null {
  const again = FORWARDED_AGAIN.exec(localPart)
  const first = FORWARDED.exec(localPart)
  const [host, rest] = again ? [again[1] ?? "", again[2] ?? ""] : [domain, first?.[1] ?? ""]
  return rest === "" || addressOr(`SRS0${rest}`, host) === null ? null : { host, rest }
}

/** The same for a sender that is kept under `token` (letters and digits, 40 at most). */
export function srsToken(token: string, domain: string, cameFor: string | null, means: SrsMeans): Address {
  return parseAddress(`${srs0(dayOf(means.now), cameFor, ["", token], domain, means)}@${domain}`)
}

/**
 * Whom an address that {@link srsAddress} has made stands for.
 * @returns null when it is none of ours, or was made more than {@link SRS_DAYS} days ago
 */
export function readSrs({ localPart, domain }: Address, means: SrsMeans): SrsMeaning | null {
  const zero = SRS0.exec(localPart)
  if (zero) return readSrs0(zero, domain, means)
  const [, hash = "", host = "", rest = ""] = SRS1.exec(localPart) ?? []
  if (hash === "") return null
  const today = dayOf(means.now)
  // SRS1 states no time, and who forwards it next would not find the host behind one: its hash is of a day, and each that counts is tried.
  const days = Array.from({ length: SRS_DAYS + 1 }, (_, age) => today - age)
  if (!days.some((day) => isEqual(hash, hashOf("srs1", day, [host, rest], domain, means)))) return null
  const sender = addressOr(`SRS0${rest}`, host)
  return sender && { kind: "forwarder", sender }
}

function readSrs0(match: readonly string[], domain: string, means: SrsMeans): SrsMeaning | null {
  const [, hash = "", time = "", name = "", host = "", local = ""] = match
  const stated = DIGITS.indexOf(time[0]?.toUpperCase() ?? "") * 32 + DIGITS.indexOf(time[1]?.toUpperCase() ?? "")
  const today = dayOf(means.now)
  const age = (today - stated + 1_024 * 1_024) % 1_024
  const parts = [...(name === "" ? [] : [name]), host, local]
  if (age > SRS_DAYS || !isEqual(hash, hashOf("srs0", today - age, parts, domain, means))) return null
  const forward = { day: new Date((today - age) * DAY_MS), cameFor: name === "" ? null : name.toLowerCase() }
  if (host === "") return { ...forward, kind: "token", token: local.toLowerCase() }
  const sender = addressOr(local, host)
  return sender && { ...forward, kind: "sender", sender }
}

/** The hash is of as many parts as there are, so that none can be moved into another. */
function srs0(
  day: number,
  cameFor: string | null,
  whose: readonly [host: string, local: string],
  domain: string,
  means: SrsMeans,
): string {
  const time = `${DIGITS[(day >> 5) & 31] ?? ""}${DIGITS[day & 31] ?? ""}`
  const hash = hashOf("srs0", day, cameFor === null ? whose : [cameFor, ...whose], domain, means)
  return `SRS0=${hash}=${time}${cameFor?.toUpperCase() ?? ""}=${whose.join("=")}`
}

/** Over lower case: there are servers that return an address so. */
function hashOf(
  form: "srs0" | "srs1",
  day: number,
  parts: readonly string[],
  domain: string,
  { key }: SrsMeans,
): string {
  const text = JSON.stringify([form, domain, day, ...parts.map((part) => part.toLowerCase())])
  return base32Encode(hmacSha256(key).update(new TextEncoder().encode(text)).digest().subarray(0, HASH_OCTETS))
}

function isEqual(given: string, hash: string): boolean {
  return equalConstantTime(new TextEncoder().encode(given.toUpperCase()), new TextEncoder().encode(hash))
}

/** @returns null for what is no address, or too long for one */
function addressOr(localPart: string, domain: string): Address | null {
  try {
    return parseAddress(formatAddress({ ...ANY, localPart, domain }))
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return null
    throw error
  }
}

function dayOf(now: Date): number {
  return Math.floor(now.getTime() / DAY_MS)
}

const DAY_MS = 86_400_000

/** A bounce comes within the five days that servers try (RFC 5321 §4.5.4.1), or it is late by something that has gone wrong. */
export const SRS_DAYS = 21
/** 30 bits: among a thousand names two are the same in one case of two thousand. */
export const SRS_NAME_CHARACTERS = 6
/** 40 bits, eight characters: a guess costs a connection, and whoever guesses much is not heard. */
const HASH_OCTETS = 5
/** Of the day modulo 1024; the hash is of the whole number. */
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
const ANY = parseAddress("any@invalid")
const SRS0 = /^SRS0=([A-Z2-7]{8})=([A-Z2-7]{2})([A-Z2-7]{6})?=([^=]*)=(.+)$/is
const SRS1 = /^SRS1=([A-Z2-7]{8})=([^=]+)=([-+=].+)$/is
/** As others write them, with any of the three separators. */
const FORWARDED = /^SRS0([-+=].+)$/is
const FORWARDED_AGAIN = /^SRS1[-+=][^=]*=([^=]+)=([-+=].+)$/is
