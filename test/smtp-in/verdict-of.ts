import { createPublicKey, generateKeyPairSync } from "node:crypto"
import { createRequire } from "node:module"
import { sealMessage } from "mailauth/lib/arc/index.js"
import { dkimSign } from "mailauth/lib/dkim/sign.js"
import { expect } from "vitest"
import { parseAddress } from "../../src/message/address.ts"
import { authenticate } from "../../src/smtp-in/authenticate.ts"
import { KnownKeys } from "../../src/smtp-in/known-keys.ts"
import type { Verdict } from "../../src/smtp-in/ports.ts"
import { type Zone, zoneLookup } from "../harness/zone.ts"

// A hostile signer checks nothing of what it writes into d= and s=.
createRequire(import.meta.url)("mailauth/lib/dkim/dkim-signer.js").DkimSigner.prototype.validateSigningIdentifiers =
  () => undefined

const NOW = new Date("2026-11-26T10:00:00Z")
export const CLIENT = "192.0.2.1"
const PLAIN = "To: alice@example.test\r\nSubject: hello\r\nDate: Thu, 26 Nov 2026 09:59:00 +0000\r\n"
export const FROM = "From: Author <author@author.test>\r\n"
export const BODY = "Dear Alice,\r\n\r\nthe text.\r\n"

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 })
const short = generateKeyPairSync("rsa", { modulusLength: 512 })
const ed25519 = generateKeyPairSync("ed25519")
export const KEYS: Zone = {
  "rsa._domainkey.author.test TXT": [
    [`v=DKIM1; k=rsa; p=${der(rsa.publicKey).slice(0, 200)}`, der(rsa.publicKey).slice(200)],
  ],
  "short._domainkey.author.test TXT": [`v=DKIM1; k=rsa; p=${der(short.publicKey)}`],
  "long._domainkey.author.test TXT": [`v=DKIM1; k=rsa; p=${der(rsaKey(4_104, "AQAB"))}`],
  "exponent._domainkey.author.test TXT": [`v=DKIM1; k=rsa; p=${der(rsaKey(2_048, "AQAAAAE"))}`],
  "ed._domainkey.author.test TXT": [`v=DKIM1; k=ed25519; p=${raw(ed25519.publicKey)}`],
  "ed._domainkey.news.author.test TXT": [`v=DKIM1; k=ed25519; p=${raw(ed25519.publicKey)}`],
  "ed._domainkey.other.test TXT": [`v=DKIM1; k=ed25519; p=${raw(ed25519.publicKey)}`],
  "ed._domainkey.list.test TXT": [`v=DKIM1; k=ed25519; p=${raw(ed25519.publicKey)}`],
  "ed._domainkey.forwarder.test TXT": [`v=DKIM1; k=ed25519; p=${raw(ed25519.publicKey)}`],
  "revoked._domainkey.author.test TXT": ["v=DKIM1; k=rsa; p="],
  "down._domainkey.author.test TXT": "SERVFAIL",
  "down._domainkey.other.test TXT": "SERVFAIL",
  "slow._domainkey.author.test TXT": "silence",
}

/** One that verifies nothing. */
function rsaKey(bits: number, exponent: string): typeof rsa.publicKey {
  const modulus = Buffer.alloc(bits / 8, 0xff).toString("base64url")
  return createPublicKey({ key: { kty: "RSA", n: modulus, e: exponent }, format: "jwk" })
}

function der(key: typeof rsa.publicKey): string {
  return key.export({ type: "spki", format: "der" }).toString("base64")
}

function raw(key: typeof rsa.publicKey): string {
  return key.export({ type: "spki", format: "der" }).subarray(-32).toString("base64")
}

export interface Given {
  readonly sender?: string | null
  readonly from?: string
  /** Header fields above the others. */
  readonly head?: string
  readonly body?: string
  /** [domain, selector, key] of each signature; the last one made stands on top. */
  readonly sign?: readonly (readonly [string, string, "rsa" | "ed25519" | "short"])[]
  readonly alter?: (message: string) => string
  /** ARC sets put on top of that, the first one first: whose, what it says it found, and where its key is. */
  readonly seals?: readonly (readonly [domain: string, results: string, selector?: string])[]
  /** Done to what was sealed. */
  readonly alterSealed?: (message: string) => string
  readonly trustedSealers?: readonly string[]
  readonly zone?: Zone
  readonly remote?: string
  readonly helo?: string
  readonly sample?: number
  readonly budgetMs?: number
  readonly pieces?: number
}

export async function verdictOf(given: Given, asked: string[] = []): Promise<Verdict> {
  const message = Buffer.from(await sealed(given), "latin1")
  const sender = given.sender === undefined ? "bounce@author.test" : given.sender
  return authenticate(
    {
      sender: sender === null ? null : parseAddress(sender),
      remote: given.remote ?? CLIENT,
      helo: given.helo ?? "mx.author.test",
    },
    pieces(message, given.pieces ?? 65_536),
    meansOf({ ...KEYS, ...given.zone }, given, asked),
  )
}

export function meansOf(zone: Zone, given: Given, asked: string[] = []) {
  return {
    authservId: "mx.example.test",
    lookup: zoneLookup(zone, asked),
    now: () => NOW,
    keys: new KnownKeys(),
    trustedSealers: given.trustedSealers ?? [],
    sample: () => given.sample ?? 0,
    ...(given.budgetMs === undefined ? {} : { budgetMs: given.budgetMs }),
  }
}

async function sealed(given: Given): Promise<string> {
  let message = given.alter?.(await signed(given)) ?? (await signed(given))
  for (const [index, [signingDomain, authResults, selector = "ed"]] of (given.seals ?? []).entries()) {
    const privateKey = ed25519.privateKey.export({ type: "pkcs8", format: "pem" }).toString()
    const cv = index === 0 ? ("none" as const) : ("pass" as const)
    const seal = { signingDomain, selector, privateKey, algorithm: "ed25519-sha256", authResults, cv, signTime: NOW }
    message = (await sealMessage(Buffer.from(message, "latin1"), seal)).toString("latin1") + message
  }
  return given.alterSealed?.(message) ?? message
}

export async function signed({ from, head, body, sign }: Given): Promise<string> {
  let message = `${head ?? ""}${from ?? FROM}${PLAIN}\r\n${body ?? BODY}`
  for (const [signingDomain, selector, kind] of sign ?? []) {
    const pair = { rsa, ed25519, short }[kind]
    const privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString()
    const algorithm = kind === "ed25519" ? "ed25519-sha256" : "rsa-sha256"
    const one = { signingDomain, selector, privateKey, algorithm, canonicalization: "relaxed/relaxed" }
    const signTime = new Date("2026-11-26T09:59:30Z")
    const { signatures, errors } = await dkimSign(Buffer.from(message), { ...one, signTime, signatureData: [one] })
    expect(errors).toEqual([])
    message = signatures + message
  }
  return message
}

export async function* pieces(octets: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}
