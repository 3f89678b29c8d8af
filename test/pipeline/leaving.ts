import { openEnveloped } from "../../src/crypto/cms/open.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { openPgpRecipient } from "../../src/crypto/openpgp/encrypt.ts"
import { openOpenPgp } from "../../src/crypto/openpgp/open.ts"
import { headerEnd } from "../../src/mime/header.ts"
import { collect, type Prepared } from "../../src/pipeline/prepared.ts"
import type { EncryptionTarget } from "../../src/pipeline/protect.ts"
import { type Holder, makeHolder, makePerson } from "../crypto/cms/alice.ts"

export const NOW = new Date("2026-11-21T10:00:00Z")
export const SEED = new Uint8Array(32).fill(7)
export const TRACE = [Buffer.from("Received: by gateway.test; now\r\n")]

export const text = (octets: Uint8Array): string => Buffer.from(octets).toString("latin1")

/** The message in pieces of `size` octets. */
export function pieces(octets: Uint8Array, size = 1_000): Prepared {
  return {
    sizeOctets: octets.length,
    async *content() {
      for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
    },
  }
}

/** The octets of a message whose size was foretold right. */
export async function octetsOf(message: Prepared): Promise<Uint8Array> {
  const octets = await collect(message.content())
  if (octets.length !== message.sizeOctets) throw new Error(`${octets.length} octets, not ${message.sizeOctets}`)
  return octets
}

export function headerOf(octets: Uint8Array): string {
  return text(octets.subarray(0, headerEnd(octets) ?? octets.length))
}

export function bodyOf(octets: Uint8Array): Uint8Array {
  return octets.subarray(headerEnd(octets) ?? octets.length)
}

/** Somebody whom mail is encrypted to, and how he opens it. */
export interface Reader {
  readonly name: string
  readonly target: EncryptionTarget
  open(message: Uint8Array): Promise<Uint8Array>
}

export const person = makePerson("alice@example.test", "Alice")

export function smimeReader(holder: Holder, cipher: "aes-256-cbc" | "aes-256-gcm" = "aes-256-cbc"): Reader {
  return {
    name: `S/MIME, ${cipher}`,
    target: { format: "smime", recipients: [cmsRecipient(holder.certificate)], cipher },
    async open(message) {
      const envelope = Buffer.from(text(bodyOf(message)), "base64")
      const opened = openEnveloped(envelope, { identity: holder.certificate.identity, scalar: holder.scalar })
      if (opened === null) throw new Error("not addressed to this key")
      return opened
    },
  }
}

export async function openPgpReader(address = "bob@elsewhere.test", seipd: 1 | 2 = 1): Promise<Reader> {
  const key = await makeAccountKey({ name: "Bob", address, createdAt: NOW })
  return {
    name: `OpenPGP, SEIPD version ${seipd}`,
    target: { format: "openpgp", recipients: [openPgpRecipient(key.certificate)], seipd },
    async open(message) {
      const opened = await openOpenPgp(dearmor(message)?.binary ?? new Uint8Array(0), key)
      if (opened === null) throw new Error("not addressed to this key")
      return opened
    },
  }
}

export const readers: readonly Reader[] = [
  smimeReader(makeHolder(person)),
  smimeReader(makeHolder(person), "aes-256-gcm"),
  await openPgpReader(),
]
