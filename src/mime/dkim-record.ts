import type { DkimAlgorithm } from "../crypto/primitives/dkim-key.ts"

/** The public half of a signing key, as its record has it. */
export interface DkimPublicKey {
  readonly algorithm: DkimAlgorithm
  /** What p= holds. */
  readonly publicKey: Uint8Array
}

/** What DNS has under the name of a key. `revoked`: an empty p= (RFC 6376 §3.6.1). `several`: which one counts is undefined (§3.6.2.2). */
export type Published = "published" | "absent" | "revoked" | "differs" | "several"

/** The name of a key's TXT record (RFC 6376 §3.6.2.1), without the last dot. */
export function keyRecordName(domain: string, selector: string): string {
  return `${selector}._domainkey.${domain}`
}

/** The text of a key's TXT record (RFC 6376 §3.6.1, RFC 8463 §4). RSA-2048 gives more than one character-string holds. */
export function keyRecord({ algorithm, publicKey }: DkimPublicKey): string {
  return `v=DKIM1; k=${KEY_TYPES[algorithm]}; p=${Buffer.from(publicKey).toString("base64")}`
}

/** RDATA of a TXT record as a zone file has it (RFC 1035 §3.3.14): character-strings of 255 octets at most. */
export function zoneText(text: string): string {
  return (text.match(/.{1,255}/gs) ?? [""]).map((part) => `"${part.replace(/["\\]/g, "\\$&")}"`).join(" ")
}

/** What `records` (TXT records, each with its strings joined) say of a key. */
export function publishedAs(records: readonly string[], key: DkimPublicKey): Published {
  const [record, another] = records
  if (record === undefined) return "absent"
  if (another !== undefined) return "several"
  const tags = tagsOf(record)
  const p = tags.get("p")
  if (p === "") return "revoked"
  const type = tags.get("k") ?? "rsa"
  const fits = type === KEY_TYPES[key.algorithm] && p === Buffer.from(key.publicKey).toString("base64")
  return fits && (tags.get("v") ?? "DKIM1") === "DKIM1" ? "published" : "differs"
}

// tag-list = tag-spec *( ";" tag-spec ) [ ";" ]; tag-spec = [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]        RFC 6376 §3.2
function tagsOf(record: string): ReadonlyMap<string, string> {
  return new Map(
    record.split(";").flatMap((tag) => {
      const equals = tag.indexOf("=")
      return equals < 0 ? [] : [[tag.slice(0, equals).trim(), tag.slice(equals + 1).replace(/\s+/g, "")] as const]
    }),
  )
}

const KEY_TYPES: Readonly<Record<DkimAlgorithm, string>> = { "rsa-sha256": "rsa", "ed25519-sha256": "ed25519" }
