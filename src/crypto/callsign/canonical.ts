/**
 * The canonical form of a callsign (draft-hallambaker-mesh-callsign, generation 2024), by the character page of Latin letters: what two
 * presentations must share to be the same name. `@Alicé` is `alice`. Text in other compositions (NFD) is composed first.
 *
 * As published: ä is ae, ö is oe, but ü is u; Ð is d, but ð is o; Ø, Þ and ÿ are missing. A hyphen is none of the canonical characters, so ÷, which the page maps to one, is refused.
 * @returns null for what is no callsign: another character, digits only, nothing, or more than 31 characters
 */
export function canonicalCallsign(presentation: string): string | null {
  const composed = presentation.slice(0, MAX_PRESENTED_CHARACTERS + 1).normalize("NFC")
  if (composed.length > MAX_PRESENTED_CHARACTERS) return null
  const mapped = [...composed.replace(/^@/, "")].map(canonicalCharacter)
  if (mapped.includes(null)) return null
  const canonical = mapped.join("")
  return /^(?=.*[a-z])[a-z0-9]+$/.test(canonical) && canonical.length <= MAX_CALLSIGN_CHARACTERS ? canonical : null
}

/** What a character stands for, nothing for a blank or a low line; null when it stands for nothing that is allowed. */
function canonicalCharacter(character: string): string | null {
  if (/^[a-z0-9]$/.test(character)) return character
  if (/^[A-Z]$/.test(character)) return character.toLowerCase()
  return SPELT.get(character) ?? null
}

/** The page's code points from U+00C0 on, in runs that have one spelling. */
const SPELT: ReadonlyMap<string, string> = new Map(
  Object.entries({
    " _": "",
    ÀÁÂÃàáâã: "a",
    Åå: "aa",
    ÄÆäæ: "ae",
    Çç: "c",
    Ð: "d",
    ÈÉÊËèéêë: "e",
    ÌÍÎÏìíîï: "i",
    Ññ: "n",
    ÒÓÔÕòóôõð: "o",
    Öö: "oe",
    ß: "ss",
    ÙÚÛÜùúûü: "u",
    "×": "x",
    Ýý: "y",
  }).flatMap(([characters, spelling]) => [...characters].map((character): [string, string] => [character, spelling])),
)

/** MaximumCallsignLength of the registry. */
const MAX_CALLSIGN_CHARACTERS = 31
/** With blanks and what is left out; a presentation is for people. */
const MAX_PRESENTED_CHARACTERS = 128
