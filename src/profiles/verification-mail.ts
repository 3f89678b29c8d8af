/** PURE. The mail in which a verifying keyserver asks whether a key may be found by an address (Hagrid, keys.openpgp.org: "Verify … for your key on …"). */

/** What this gateway has asked of a keyserver. */
export interface VerificationAsked {
  /** "host" or "host:port". */
  readonly host: string
  /** Of the certificate that was brought there, lower case hexadecimal. */
  readonly fingerprint: string
}

/** What a mail's text asks. `because` is a sentence for people. */
export type VerificationMail =
  | { readonly kind: "link"; readonly token: string }
  | { readonly kind: "other"; readonly because: string }

/** Hagrid's mail has 5 KB. */
export const MAX_VERIFICATION_MAIL_OCTETS = 65_536

/**
 * Whether mail of `domain` can be the keyserver's: its host's own, or that of a domain above it. Whoever holds a domain above a host can have that host's name lead
 * wherever he likes, so a list of public suffixes would keep nobody out.
 */
export function speaksFor(domain: string, host: string): boolean {
  const name = host.replace(/:\d+$/, "")
  return domain === name || (domain.includes(".") && name.endsWith(`.${domain}`))
}

/**
 * Looks for the one link `https://HOST/verify/TOKEN` in the texts of a mail. Anybody can have a keyserver write to an address, about a key of his own: so the mail must
 * name our certificate, and no other. Nothing but the token is taken from it.
 */
export function readVerificationMail(texts: readonly string[], asked: VerificationAsked): VerificationMail {
  const [first = "", ...links] = texts.join("\n").split(`https://${asked.host}/verify/`)
  if (links.length === 0) return { kind: "other", because: "it has no link to verify" }
  const tokens = links.map((link) => TOKEN.exec(link)?.[0] ?? "")
  const [token = "", ...others] = new Set(tokens)
  if (token === "" || others.length > 0) return { kind: "other", because: "it has more than one link, or a broken one" }
  const text = [first, ...links.map((link) => link.slice(token.length))].join(" ")
  const named = new Set(Array.from(text.matchAll(FINGERPRINT), ([written]) => written.toLowerCase()))
  if (named.size !== 1 || !named.has(asked.fingerprint))
    return { kind: "other", because: "it is not about the key that was brought there, or not about it alone" }
  return { kind: "link", token }
}

/** Hagrid's are 43 letters and digits. What is behind one must end it in text and in HTML. */
const TOKEN = /^[A-Za-z0-9_-]{16,256}(?=[\s"'<>]|$)/
/** Of version 4 and of version 6 (RFC 9580 §5.5.4). */
const FINGERPRINT = /(?<![A-Za-z0-9])(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})(?![A-Za-z0-9])/g
