import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import { fieldText, firstField, parseFields } from "../../mime/header.ts"
import type { Message } from "../message.ts"
import { MessageFile } from "../message-file.ts"
import { sizesOf } from "../paths.ts"
import { bad } from "./arguments.ts"
import type { Context } from "./context.ts"
import { internalDateOf } from "./fetch.ts"
import { decodeHeaderText, readHeaderOf } from "./header-text.ts"
import { parseSearch, type SearchKey } from "./search-keys.ts"
import type { Numbered, View } from "./view.ts"

/** SEARCH and UID SEARCH (RFC 3501 §6.4.4). */
export async function search(context: Context, command: Command): Promise<string> {
  const { view, output } = context
  if (view === null) throw bad("no mailbox is selected")
  const key = parseSearch(command.arguments)
  if (key === null) return "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset"
  const tests = prepare(view, key)
  const found: number[] = []
  for (const numbered of view.all) {
    if (numbered.message.gone || !(await tests(numbered))) continue
    found.push(command.name === "UID SEARCH" ? numbered.message.uid : numbered.sequence)
  }
  output.line(["* SEARCH", ...found].join(" "))
  return "OK SEARCH completed"
}

/** Synchronous where no file is needed: most searches are of flags in large mailboxes. */
type Test = (numbered: Numbered) => boolean | Promise<boolean>

function prepare(view: View, key: SearchKey): Test {
  switch (key.kind) {
    case "all":
      return () => true
    case "recent":
      return ({ message }) => message.uid >= view.folder.firstRecentUid
    case "flag":
      return flagTest(view, key.flag)
    case "not":
      return negate(prepare(view, key.key))
    case "and":
    case "or":
      return combine(
        key.keys.map((part) => prepare(view, part)),
        key.kind === "or",
      )
    case "set": {
      const sequences = new Set(view.resolve(key.set, key.byUid).map(({ sequence }) => sequence))
      return ({ sequence }) => sequences.has(sequence)
    }
    case "size":
      return async ({ message }) => {
        const octets = await sizeOf(view, message)
        return octets !== null && (key.larger ? octets > key.octets : octets < key.octets)
      }
    case "date":
      return async ({ message }) => {
        const at = key.sent ? await sentDate(view, message) : await internalDateOf(view, message)
        return at !== null && at >= key.from && at < key.before
      }
    case "header":
      return ({ message }) => headerContains(view, message, key.field, key.text)
    case "body":
      return ({ message }) => bodyContains(view, message, key.withHeader, key.octets)
    default:
      return key satisfies never
  }
}

function flagTest(view: View, flag: string): Test {
  const letter = view.folder.keywords.letterOf(flag)
  return ({ message }) => letter !== null && message.letters.includes(letter)
}

function negate(test: Test): Test {
  return (numbered) => {
    const result = test(numbered)
    return typeof result === "boolean" ? !result : result.then((value) => !value)
  }
}

/** The first that decides ends it. */
function combine(tests: readonly Test[], decisive: boolean): Test {
  return async (numbered) => {
    for (const test of tests) {
      const result = test(numbered)
      if ((typeof result === "boolean" ? result : await result) === decisive) return decisive
    }
    return !decisive
  }
}

function withMessage<T>(view: View, message: Message, work: (file: MessageFile) => Promise<T>): Promise<T | null> {
  return view.folder.withFile(message, async (path) => {
    await using file = await MessageFile.open(path, message)
    // Awaited here: the file is closed when this returns.
    return await work(file)
  })
}

async function sizeOf(view: View, message: Message): Promise<number | null> {
  return (
    message.wireOctets ??
    sizesOf(message.base).wireOctets ??
    (await withMessage(view, message, async (file) => file.sizeOctets))
  )
}

/** The day of the Date field as it is written, without regard to its zone (RFC 3501 §6.4.4 SENTON). */
async function sentDate(view: View, message: Message): Promise<number | null> {
  const text = await withMessage(view, message, async (file) =>
    firstField(parseFields((await readHeaderOf(file)).octets), "date"),
  )
  const found = /(\d{1,2})\s+([A-Za-z]{3})[a-z]*\s+(\d{4})/.exec(text ?? "")
  const at = found ? Date.parse(`${found[1]} ${found[2]} ${found[3]} 00:00 +0000`) : Number.NaN
  return Number.isNaN(at) ? null : at
}

/** RFC 3501 §6.4.4 HEADER: an empty text means that the field is there. */
async function headerContains(view: View, message: Message, field: string, text: string): Promise<boolean> {
  const found = await withMessage(view, message, async (file) => {
    const fields = parseFields((await readHeaderOf(file)).octets).filter(({ name }) => name === field)
    return fields.some((candidate) => decodeHeaderText(fieldText(candidate)).toLowerCase().includes(text))
  })
  return found ?? false
}

async function bodyContains(view: View, message: Message, withHeader: boolean, wanted: Uint8Array): Promise<boolean> {
  const needle = Buffer.from(wanted)
  const found = await withMessage(view, message, async (file) => {
    const start = withHeader ? 0 : (await readHeaderOf(file)).octets.length
    let tail: Uint8Array = new Uint8Array(0)
    for await (const octets of file.read(start, file.sizeOctets)) {
      const text = lowerCase(Buffer.concat([tail, octets]))
      if (text.includes(needle)) return true
      tail = text.subarray(Math.max(0, text.length - needle.length + 1))
    }
    return needle.length === 0
  })
  return found ?? false
}

/** ASCII letters only: other octets may be of any charset. */
function lowerCase(octets: Buffer): Buffer {
  for (let at = 0; at < octets.length; at += 1) {
    const octet = octets[at] ?? 0
    if (octet >= 0x41 && octet <= 0x5a) octets[at] = octet + 32
  }
  return octets
}
