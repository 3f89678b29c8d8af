import { readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { readArrived } from "../../../src/pipeline/arriving/arrived.ts"
import { signatureField } from "../../../src/pipeline/arriving/verdict.ts"
import { seenSignature, type Verified, verifySignature } from "../../../src/pipeline/arriving/verify.ts"
import { preparedOf } from "../../../src/pipeline/prepared.ts"
import type { KeyCandidate } from "../../../src/profiles/key.ts"
import type { KeyRules } from "../../../src/profiles/usable/rules.ts"

export interface Looking {
  /** DER. */
  readonly roots?: readonly Uint8Array[]
  readonly candidates?: readonly KeyCandidate[]
  readonly silent?: boolean
  readonly at?: Date
  readonly revocation?: KeyRules["revocation"]
}

export async function verified(message: string | Uint8Array, looking: Looking = {}): Promise<Verified | null> {
  const { roots = [], candidates = [], silent = false, at = new Date(), revocation = { kind: "off" } } = looking
  const octets = typeof message === "string" ? Buffer.from(message) : message
  const arrived = await readArrived(preparedOf(octets))
  const seen = await seenSignature(arrived)
  if (seen === null) return null
  return verifySignature(arrived, seen, at, {
    keys: { candidates: async () => ({ candidates, silent }) },
    rulesAt: (now) => ({ at: now, roots: roots.map(readCertificate), revocation, tags: false }),
  })
}

/** `method=result: because`, or "nothing". */
export async function verdictOn(message: string | Uint8Array, looking: Looking = {}): Promise<string> {
  const found = await verified(message, looking)
  return found === null ? "nothing" : `${found.verdict.by}=${found.verdict.result}: ${found.verdict.because}`
}

export async function fieldOn(message: string | Uint8Array, looking: Looking = {}): Promise<string> {
  const found = await verified(message, looking)
  return found === null ? "" : signatureField("mx.example.test", found.verdict)
}

/** Lines as they go over the wire. */
export function mail(...lines: readonly string[]): string {
  return `${lines.join("\r\n")}\r\n`
}

/** With line ends as they go over the wire, whatever a program wrote. */
export function crlf(text: string): string {
  return text.replace(/\r?\n/g, "\r\n")
}
