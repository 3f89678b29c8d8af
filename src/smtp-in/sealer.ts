/** PURE. Whose word about a message counts where it fails DMARC here: a list or forwarder that altered it, and sealed what it had found before. */

/** One ARC set (RFC 8617 §4.2) as mailauth reads it. */
export interface ArcSet {
  readonly "arc-seal"?: TagList
  readonly "arc-message-signature"?: TagList
  readonly "arc-authentication-results"?: { readonly parsed?: unknown }
}

interface TagList {
  readonly parsed?: Readonly<Record<string, { readonly value?: string | number } | undefined>>
}

/** What a sealer says of a message. */
export interface Seal {
  /** `d=` of the ARC-Seal. */
  readonly sealer: string
  /** The author's domain for which it found dmarc=pass, or null. */
  readonly passed: string | null
}

/** What the sealers of a chain say, the first one first. */
export function sealsOf(chain: readonly ArcSet[]): readonly Seal[] {
  return chain.map((set) => ({
    sealer: tag(set["arc-seal"], "d").toLowerCase(),
    passed: passedFor(set["arc-authentication-results"]?.parsed),
  }))
}

/**
 * The sealer that says that mail of this author passed DMARC when it came by; from it on every sealer has to be a trusted one (RFC 8617
 * §7.2.1). It counts only when the chain passes.
 * @returns null when there is none
 */
export function vouchingSealer(seals: readonly Seal[], author: string, trusted: readonly string[]): string | null {
  for (const { sealer, passed } of seals.toReversed()) {
    if (!trusted.includes(sealer)) return null
    if (passed === author) return sealer
  }
  return null
}

/** Where the keys of a chain are: of every seal, and of the last signature. */
export function chainKeys(chain: readonly ArcSet[]): readonly string[] {
  const signed = [...chain.map((set) => set["arc-seal"]), chain.at(-1)?.["arc-message-signature"]]
  return signed.map((tags) => `${tag(tags, "s")}._domainkey.${tag(tags, "d")}`)
}

function passedFor(results: unknown): string | null {
  const dmarc = property(results, "dmarc")
  const from = property(property(dmarc, "header"), "from")
  return property(dmarc, "value") === "pass" && typeof from === "string" ? from.toLowerCase() : null
}

function tag(tags: TagList | undefined, name: string): string {
  return String(tags?.parsed?.[name]?.value ?? "")
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined
}
