import { stat } from "node:fs/promises"
import { GatewayError } from "../../errors.ts"
import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import { formatBodyStructure, formatEnvelope } from "../../mime/bodystructure.ts"
import { parseFields } from "../../mime/header.ts"
import type { Entity } from "../../mime/structure.ts"
import { parseEnvelope } from "../../mime/structure-header.ts"
import type { Message } from "../message.ts"
import { MessageFile } from "../message-file.ts"
import { sizesOf } from "../paths.ts"
import { bad, count, formatDateTime, sequenceSet } from "./arguments.ts"
import type { Context } from "./context.ts"
import { type FetchItem, parseFetchItems } from "./fetch-items.ts"
import { collectRange, type Header, readHeaderOf } from "./header-text.ts"
import { locate, type Range, selectFields } from "./sections.ts"
import type { Numbered, View } from "./view.ts"

/** FETCH and UID FETCH (RFC 3501 §6.4.5). */
export async function fetch(context: Context, command: Command): Promise<string> {
  const { view } = context
  if (view === null) throw bad("no mailbox is selected")
  count(command.arguments, 2)
  const byUid = command.name === "UID FETCH"
  const set = sequenceSet(command.arguments[0])
  const asked = parseFetchItems(command.arguments.slice(1))
  const items: FetchItem[] = byUid && !asked.some(({ kind }) => kind === "UID") ? [{ kind: "UID" }, ...asked] : asked
  if (!byUid && view.exceeds(set)) throw bad("no such message")
  let missing = false
  for (const numbered of view.resolve(set, byUid)) {
    if (!(await fetchOne(context, view, numbered, items))) missing = true
    await context.output.settle()
  }
  return missing ? "NO [EXPUNGEISSUED] Some messages are gone" : "OK FETCH completed"
}

/** @returns false when the message is gone */
async function fetchOne(
  context: Context,
  view: View,
  numbered: Numbered,
  items: readonly FetchItem[],
): Promise<boolean> {
  const { message, sequence } = numbered
  if (message.gone) return false
  const seen =
    !view.readOnly && !message.letters.includes("S") && items.some((item) => item.kind === "section" && !item.peek)
  if (!items.some((item) => needsFile(item, message))) {
    const parts = items.map((item) => simpleItem(view, message, item))
    context.output.line(`* ${sequence} FETCH (${parts.join(" ")})`)
    if (items.some(({ kind }) => kind === "FLAGS")) view.told(numbered)
    return true
  }
  const opened = await view.folder.withFile(message, (path) => MessageFile.open(path, message))
  if (opened === null) return false
  await using file = opened
  if (seen) await view.folder.setLetters(message, `${message.letters}S`)
  const told: readonly FetchItem[] =
    seen && !items.some(({ kind }) => kind === "FLAGS") ? [...items, { kind: "FLAGS" }] : items
  const found = await look(context, message, file, told)
  context.output.text(`* ${sequence} FETCH (`)
  for (const [index, item] of told.entries()) {
    if (index > 0) context.output.text(" ")
    await writeItem(context, view, found, item)
  }
  context.output.line(")")
  if (told.some(({ kind }) => kind === "FLAGS")) view.told(numbered)
  return true
}

/** What the items of one message need to know of it. */
interface Found {
  readonly message: Message
  readonly file: MessageFile
  readonly header: Header | null
  readonly entity: Entity | null
}

async function look(
  context: Context,
  message: Message,
  file: MessageFile,
  items: readonly FetchItem[],
): Promise<Found> {
  const structured = items.some(needsStructure)
  const header = items.some(needsHeader) ? await readHeaderOf(file) : null
  // A header section too long to be held is found by the structure parser, which holds none.
  const entity = structured || header?.complete === false ? await context.structures.of(message, file) : null
  return { message, file, header, entity }
}

function needsFile(item: FetchItem, message: Message): boolean {
  if (item.kind === "INTERNALDATE") return message.internalDateMs === null
  if (item.kind === "RFC822.SIZE") return (message.wireOctets ?? sizesOf(message.base).wireOctets) === null
  return !["FLAGS", "UID"].includes(item.kind)
}

function needsStructure(item: FetchItem): boolean {
  return (
    item.kind === "BODY" || item.kind === "BODYSTRUCTURE" || (item.kind === "section" && item.section.part.length > 0)
  )
}

function needsHeader(item: FetchItem): boolean {
  return (
    item.kind === "ENVELOPE" || (item.kind === "section" && item.section.part.length === 0 && item.section.text !== "")
  )
}

function simpleItem(view: View, message: Message, { kind }: FetchItem): string {
  if (kind === "FLAGS") return `FLAGS (${view.flags(message)})`
  if (kind === "UID") return `UID ${message.uid}`
  if (kind === "INTERNALDATE") return `INTERNALDATE "${formatDateTime(message.internalDateMs ?? 0)}"`
  return `RFC822.SIZE ${message.wireOctets ?? sizesOf(message.base).wireOctets ?? 0}`
}

async function writeItem(context: Context, view: View, found: Found, item: FetchItem): Promise<void> {
  const { output } = context
  if (item.kind === "section") return writeSection(context, found, item)
  if (item.kind === "ENVELOPE") {
    const envelope = found.entity?.envelope ?? parseEnvelope(parseFields(found.header?.octets ?? NOTHING))
    output.text(`ENVELOPE ${formatEnvelope(envelope)}`)
  } else if (item.kind === "BODY" || item.kind === "BODYSTRUCTURE") {
    if (found.entity) output.text(`${item.kind} ${formatBodyStructure(found.entity, item.kind === "BODYSTRUCTURE")}`)
  } else output.text(simpleItem(view, found.message, item))
}

async function writeSection(context: Context, found: Found, item: FetchItem & { kind: "section" }): Promise<void> {
  const range = rangeOf(found, item)
  if (range === null) return context.output.text(`${item.label} NIL`)
  if (!item.section.text.startsWith("HEADER.FIELDS")) return writeRange(context, found.file, range, item)
  const header = await collectRange(found.file, range)
  const fields = selectFields(header, item.section)
  const { start, end } = cut({ start: 0, end: fields.length }, item.partial)
  context.output.text(`${item.label} {${end - start}}\r\n`)
  await context.output.octets(fields.subarray(start, end))
}

function rangeOf({ entity, header, file }: Found, { section }: FetchItem & { kind: "section" }): Range | null {
  const size = file.sizeOctets
  if (entity !== null) return locate(entity, section)
  if (section.text === "") return { start: 0, end: size }
  const end = header?.octets.length ?? 0
  return section.text === "TEXT" ? { start: end, end: size } : { start: 0, end }
}

async function writeRange(
  { output }: Context,
  file: MessageFile,
  range: Range,
  item: FetchItem & { kind: "section" },
): Promise<void> {
  const { start, end } = cut(range, item.partial)
  output.text(`${item.label} {${end - start}}\r\n`)
  let written = 0
  for await (const octets of end > start ? file.read(start, end) : []) {
    written += octets.length
    await output.octets(octets)
  }
  // The literal's length is promised: there is no way to go on.
  if (written !== end - start)
    throw new GatewayError("STATE_CORRUPT", "mailbox: a message file was cut short while it was read")
}

/** RFC 3501 §6.4.5: a partial beyond the end is empty, one over the end is cut. */
function cut({ start, end }: Range, partial: { readonly offset: number; readonly count: number } | null): Range {
  if (partial === null) return { start, end }
  const from = Math.min(start + partial.offset, end)
  return { start: from, end: Math.min(from + partial.count, end) }
}

/** INTERNALDATE of a message, in milliseconds; null when it is gone. */
export async function internalDateOf(view: View, message: Message): Promise<number | null> {
  if (message.internalDateMs !== null) return message.internalDateMs
  const found = await view.folder.withFile(message, (path) => stat(path))
  if (found === null) return null
  message.internalDateMs = Math.floor(found.mtimeMs)
  return message.internalDateMs
}

const NOTHING = new Uint8Array(0)
