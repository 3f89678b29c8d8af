import type { Context } from "../context.ts"
import { windowKey } from "../context.ts"
import type { WindowRecord } from "../windows.ts"
import type { Command } from "../wire/command-reader.ts"
import { formatSection } from "../wire/section.ts"
import { parseSequenceSet, type SequenceSet } from "../wire/sequence-set.ts"
import { type Token, textOf } from "../wire/tokens.ts"
import { forward } from "./forward.ts"
import { checkMessages, fetchWindows } from "./window-fetch.ts"

/**
 * FETCH and UID FETCH, the client's direction; what comes back is patched in fetch-response.ts.
 * Whole sections are patched as they stream by. A partial (`<0.100>`) may begin or end within the octets that change, so for it the
 * window record must be known before: it is fetched first where it is not (window-fetch.ts). Where altered messages are refused,
 * no part of one goes out before all of it was looked at.
 */
export async function fetchCommand(context: Context, command: Command): Promise<void> {
  const request = fetchRequest(command)
  if (typeof request === "string") return context.client.say(`${command.tag} BAD ${request}`)
  if (context.device.recryptors.length > 0) await prepare(context, request)
  await forward(context, command)
}

/** Learns first what the answers will depend on. */
async function prepare(context: Context, request: FetchRequest): Promise<void> {
  const { byUid, partialSections: sections } = request
  const checked = request.parts && context.device.markers.onAltered === "refuse"
  if (sections.length === 0 && !checked) return
  // Alone on the line: what our own FETCH brings cannot be taken for the client's, and what is selected is certain.
  await context.pending.below(1)
  const unchecked = checked ? lackingOf(context, request, [""], ({ integrity }) => integrity !== "unchecked") : null
  if (unchecked !== null) await checkMessages(context, { byUid, set: unchecked })
  const unknown = lackingOf(context, request, sections, () => true)
  if (unknown !== null) await fetchWindows(context, { byUid, set: unknown, sections })
}

interface FetchRequest {
  readonly byUid: boolean
  readonly set: SequenceSet
  readonly setText: string
  /** Message data asked for in part, as in a FETCH command: "", `TEXT`, `1.2`. */
  readonly partialSections: readonly string[]
  /** Message data is asked for that is not the whole message. */
  readonly parts: boolean
}

/** Text: what is wrong with it. */
function fetchRequest(command: Command): FetchRequest | string {
  const [setToken, itemToken, modifiers, ...more] = command.arguments
  const setText = textOf(setToken)
  const set = setText === null ? null : parseSequenceSet(setText)
  if (set === null || setText === null || itemToken === undefined || more.length > 0)
    return "FETCH takes a set and items"
  const items = itemToken.kind === "list" ? itemToken.items : [itemToken]
  const refused = items.find((item) => !isAllowedItem(item))
  if (refused !== undefined) return "FETCH item not supported"
  if (modifiers !== undefined && !areAllowedModifiers(modifiers)) return "FETCH modifier not supported"
  const partial = items.filter((item) => item.kind === "section" && item.partial !== null).map(sectionOf)
  const partialSections = [...new Set(partial.filter((section) => section !== null))]
  return { byUid: command.name.startsWith("UID "), set, setText, partialSections, parts: items.some(isPart) }
}

function isPart(item: Token): boolean {
  if (item.kind === "atom") return item.text.toUpperCase() === "RFC822.TEXT"
  return item.kind === "section" && sectionOf(item) !== null && (sectionOf(item) !== "" || item.partial !== null)
}

/** null for header sections: they hold no encrypted block. */
function sectionOf(token: Token): string | null {
  if (token.kind !== "section") return null
  return token.section.text === "" || token.section.text === "TEXT" ? formatSection(token.section) : null
}

// RFC 9051 §6.4.5, RFC 3501 §6.4.5 (RFC822), RFC 7162 (MODSEQ), RFC 8474, RFC 8514. BINARY and PREVIEW carry content past the patch.
const ITEMS: readonly string[] = [
  "ALL",
  "FAST",
  "FULL",
  "BODY",
  "BODYSTRUCTURE",
  "ENVELOPE",
  "FLAGS",
  "INTERNALDATE",
  "RFC822",
  "RFC822.HEADER",
  "RFC822.SIZE",
  "RFC822.TEXT",
  "UID",
  "MODSEQ",
  "SAVEDATE",
  "EMAILID",
  "THREADID",
]

function isAllowedItem(item: Token): boolean {
  if (item.kind === "section") return item.name === "BODY" || item.name === "BODY.PEEK"
  return item.kind === "atom" && ITEMS.includes(item.text.toUpperCase())
}

/** RFC 7162 §3.1.4.1, §3.2.6. */
function areAllowedModifiers(modifiers: Token): boolean {
  if (modifiers.kind !== "list") return false
  return modifiers.items.every((item) => item.kind === "atom" && /^(?:CHANGEDSINCE|VANISHED|\d+)$/i.test(item.text))
}

/** Sets of up to this many messages are looked up one by one; larger ones are asked for as a whole. */
const MAX_LOOKUPS = 2000

/** The messages of the set for which not all sections have a record that will do, as a sequence set; null when there are none. */
function lackingOf(
  context: Context,
  request: FetchRequest,
  sections: readonly string[],
  willDo: (record: WindowRecord) => boolean,
): string | null {
  if (context.mailbox.key === null || sections.length === 0) return null
  const numbers = numbersOf(request.set)
  if (numbers === null) return request.setText
  const lacking = numbers.filter((number) => {
    const uid = request.byUid ? number : context.mailbox.uidOf(number)
    return uid === null || !sections.every((section) => isKnown(context, uid, section, willDo))
  })
  return lacking.length === 0 ? null : compact(lacking)
}

function isKnown(context: Context, uid: number, section: string, willDo: (record: WindowRecord) => boolean): boolean {
  const key = windowKey(context, uid, section)
  const record = key === null ? null : context.windows.find(key)
  return record !== null && willDo(record)
}

/** The numbers of a small set without `*`; null for others. */
function numbersOf(set: SequenceSet): number[] | null {
  if (set === "$") return null
  const numbers: number[] = []
  for (const { first, last } of set) {
    if (first === "*" || last === "*" || Math.abs(last - first) + numbers.length >= MAX_LOOKUPS) return null
    for (let n = Math.min(first, last); n <= Math.max(first, last); n += 1) numbers.push(n)
  }
  return numbers
}

/** Ascending numbers as a sequence set with ranges. */
function compact(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b)
  const ranges: [number, number][] = []
  for (const number of sorted) {
    const last = ranges.at(-1)
    if (last !== undefined && last[1] === number - 1) last[1] = number
    else ranges.push([number, number])
  }
  return ranges.map(([low, high]) => (low === high ? `${low}` : `${low}:${high}`)).join(",")
}
