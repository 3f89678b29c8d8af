import { ascii } from "./compose.ts"
import { parseFields } from "./header.ts"

/** Real subjects stay below 1 KB; in longer fields no tag is looked for. */
export const MAX_SUBJECT_OCTETS = 16_384

/** The header section after a tag was looked for in its subject. */
export interface Untagged {
  readonly found: boolean
  readonly header: Uint8Array
}

/**
 * Takes `tag` (printable ASCII without blanks, such as `[secure]`) out of the Subject, wherever it stands there and however it is written: in capitals, folded, within or
 * across encoded words (RFC 2047). All other octets stay as they are; an encoded word in base64 that held the tag is written anew with the octets that are
 * left. With the tag goes the blank behind it, or before it at the end.
 */
export function withoutSubjectTag(header: Uint8Array, tag: string): Untagged {
  const fields = parseFields(header)
  let found = false
  const parts = fields.map(({ name, octets }) => {
    const isLooked = name === "subject" && octets.length <= MAX_SUBJECT_OCTETS
    const cleaned = isLooked ? withoutTag(Buffer.from(octets).toString("latin1"), tag.toLowerCase()) : null
    if (cleaned === null) return octets
    found = true
    return ascii(cleaned)
  })
  if (!found) return { found, header }
  const after = fields.reduce((sum, { octets }) => sum + octets.length, 0)
  return { found, header: Buffer.concat([...parts, header.subarray(after)]) }
}

/** A piece of the field's value: a character of text, a run of blanks, an octet of an encoded word, or what stands between and does not count. */
interface Unit {
  /** One character, lower case; a blank for a run of them; empty when it does not count. */
  readonly text: string
  /** How it stands in the field; of base64 the decoded octet. */
  readonly raw: string
  readonly word: Word | null
}

interface Word {
  /** `=?charset?encoding?` */
  readonly head: string
  readonly isBase64: boolean
}

/** @returns null when the tag is not in it */
function withoutTag(field: string, tag: string): string | null {
  const start = field.indexOf(":") + 1
  const lineEnd = /\r?\n$/.exec(field)?.[0] ?? ""
  const units = unitsOf(field.slice(start, field.length - lineEnd.length))
  const kept = untagged(units, tag)
  return kept.length === units.length ? null : field.slice(0, start) + written(withoutLooseGaps(kept)) + lineEnd
}

/** One pass: as soon as what was kept ends in the tag, that is taken back. */
function untagged(units: readonly Unit[], tag: string): Unit[] {
  const kept: Unit[] = []
  let behindTag = false
  for (const unit of units) {
    if (behindTag && unit.text === " ") {
      behindTag = false
      continue
    }
    kept.push(unit)
    if (unit.text === "") continue
    behindTag = unit.text === tag.at(-1) && takeBack(kept, tag)
  }
  if (behindTag && kept.at(-1)?.text === " ") kept.pop()
  return kept
}

/** Takes the tag from the end of what was kept; what does not count stays. False when it is not there. */
function takeBack(kept: Unit[], tag: string): boolean {
  let at = kept.length
  for (let left = tag.length; left > 0; ) {
    at -= 1
    const text = kept[at]?.text
    if (text === undefined || (text !== "" && text !== tag[left - 1])) return false
    if (text !== "") left -= 1
  }
  kept.push(...kept.splice(at).filter(({ text }) => text === ""))
  return true
}

/** What stands between encoded words goes with one of them. */
function withoutLooseGaps(units: readonly Unit[]): Unit[] {
  const solid = units.filter(({ text }) => text !== "")
  let next = 0
  let wasGap = false
  return units.filter(({ text }) => {
    if (text !== "") {
      next += 1
      wasGap = false
      return true
    }
    const isBetween = !wasGap && Boolean(solid[next - 1]?.word && solid[next]?.word)
    wasGap = true
    return isBetween
  })
}

function unitsOf(value: string): Unit[] {
  const units: Unit[] = []
  for (const [piece] of value.matchAll(/=\?[^?\s]{1,80}\?[bq]\?[^?\s]*\?=|(?:\r?\n)?[ \t]+(?:\r?\n[ \t]+)*|./gis)) {
    const encoded = /^(=\?([^?]+)\?([bq])\?)([^?]*)\?=$/i.exec(piece)
    if (encoded) units.push(...wordUnits(encoded))
    else units.push({ text: /^[\r\n \t]/.test(piece) ? " " : piece.toLowerCase(), raw: piece, word: null })
  }
  // RFC 2047 §6.2: blanks between encoded words are not part of the text.
  return units.map((unit, at) =>
    unit.text === " " && unit.word === null && units[at - 1]?.word && units[at + 1]?.word
      ? { ...unit, text: "" }
      : unit,
  )
}

function wordUnits([, head = "", charset = "", encoding = "", content = ""]: RegExpExecArray): Unit[] {
  const isBase64 = encoding.toLowerCase() === "b"
  const word: Word = { head, isBase64 }
  const pieces = isBase64
    ? [...Buffer.from(content, "base64").toString("latin1")]
    : (content.match(/=[0-9a-f]{2}|./gis) ?? [])
  // Octets are characters where the charset has ASCII in it; in ISO-2022 up to the first escape.
  let isAscii = !/^(?:utf-?7|utf-?16|utf-?32|ucs)/i.test(charset)
  return pieces.map((raw) => {
    const octet = isBase64 ? raw : decodedQ(raw)
    if (octet === "\x1b") isAscii = false
    return { text: isAscii ? octet.toLowerCase() : "\0", raw, word }
  })
}

// RFC 2047 §4.2
function decodedQ(raw: string): string {
  if (raw === "_") return " "
  return raw.length === 3 ? String.fromCharCode(Number.parseInt(raw.slice(1), 16)) : raw
}

function written(units: readonly Unit[]): string {
  let text = ""
  for (let at = 0; at < units.length; ) {
    const word = units[at]?.word ?? null
    let end = at + 1
    while (word !== null && units[end]?.word === word) end += 1
    const raw = units
      .slice(at, end)
      .map((unit) => unit.raw)
      .join("")
    text += word === null ? raw : `${word.head}${word.isBase64 ? Buffer.from(raw, "latin1").toString("base64") : raw}?=`
    at = end
  }
  return text
}
