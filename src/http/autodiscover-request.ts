/** PURE. Reading of a POX Autodiscover request ([MS-OXDSCLI] §2.2.3): the two values we need, and no XML parser. */

/** What was asked. */
export interface AutodiscoverRequest {
  /** As written; not checked. */
  readonly address: string
  /** AcceptableResponseSchema: the name space that the client understands. */
  readonly schema: string
}

/** Real requests have 350 to 900 octets. */
export const MAX_REQUEST_OCTETS = 8_192

/**
 * Finds `EMailAddress` and `AcceptableResponseSchema`, each exactly once and with nothing but text in it.
 * @returns null for anything else: not UTF-8, a document type, comment or CDATA section (no client sends one, and an entity is
 * declared nowhere else), an element twice or with elements in it, an entity that is not predefined
 */
export function readAutodiscoverRequest(octets: Uint8Array): AutodiscoverRequest | null {
  const xml = decoded(octets)
  if (xml === null || xml.includes("<!")) return null
  const address = onlyText(xml, "EMailAddress")
  const schema = onlyText(xml, "AcceptableResponseSchema")
  return address === null || schema === null ? null : { address, schema }
}

function decoded(octets: Uint8Array): string | null {
  if (octets.length > MAX_REQUEST_OCTETS) return null
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(octets)
  } catch (error) {
    if (error instanceof TypeError) return null
    throw error
  }
}

/** The text of the only element of this name, whatever its prefix. */
function onlyText(xml: string, name: string): string | null {
  const start = new RegExp(`<(?:[A-Za-z_][\\w.-]*:)?${name}(?:\\s[^<>]*)?>`, "g")
  const [found, ...more] = [...xml.matchAll(start)]
  if (found === undefined || more.length > 0) return null
  const content = /^[^<]*/.exec(xml.slice(found.index + found[0].length))?.[0] ?? ""
  const end = new RegExp(`^</(?:[A-Za-z_][\\w.-]*:)?${name}\\s*>`)
  return end.test(xml.slice(found.index + found[0].length + content.length)) ? unescaped(content.trim()) : null
}

/** XML 1.0 §4.6, the predefined entities; §4.1, character references. */
function unescaped(text: string): string | null {
  let bad = false
  const plain = text.replace(
    /&(#x[0-9A-Fa-f]{1,6}|#[0-9]{1,7}|[a-z]{2,4})?;?/g,
    (reference, name: string | undefined) => {
      const character = reference.endsWith(";") && name !== undefined ? characterOf(name) : null
      bad ||= character === null
      return character ?? ""
    },
  )
  return bad ? null : plain
}

function characterOf(name: string): string | null {
  if (!name.startsWith("#")) return PREDEFINED[name] ?? null
  const point = name.startsWith("#x") ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10)
  const allowed = point >= 0x20 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff)
  return allowed ? String.fromCodePoint(point) : null
}

const PREDEFINED: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" }
