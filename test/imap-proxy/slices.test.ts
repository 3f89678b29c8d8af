import type { Duplex } from "node:stream"
import fc from "fast-check"
import { expect, test } from "vitest"
import { WireClient } from "../harness/wire.ts"
import { Lines } from "./answering.ts"
import { quoted } from "./client.ts"
import { type RandomMessage, randomMessage } from "./random-messages.ts"
import { ACCOUNT, LAPTOP, scripted, startRig } from "./rig.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 40)

/** Message data in a FETCH: a section with or without a partial, or RFC 3501's RFC822 and RFC822.TEXT. */
interface Item {
  readonly name: string
  readonly section: string
  readonly partial: { readonly from: number; readonly count: number } | null
}

const ITEM = /RFC822(?:\.TEXT)?|BODY(?:\.PEEK)?\[([A-Z0-9.]*)\](?:<(\d+)\.(\d+)>)?/g

function itemsOf(command: string): Item[] {
  return [...command.matchAll(ITEM)].map(([name, section = name === "RFC822.TEXT" ? "TEXT" : "", from, count]) => ({
    name: section === "" && name.startsWith("RFC") ? name : (/^RFC822\.TEXT/.exec(name)?.[0] ?? `BODY[${section}]`),
    section,
    partial: from === undefined ? null : { from: Number(from), count: Number(count) },
  }))
}

/** What a server answers to the items of `command`, for a message of this text. */
function answerTo(command: string, number: number, text: string, sections: RandomMessage["sections"]): string {
  const data = itemsOf(command).map(({ name, section, partial }) => {
    const whole = text.slice(...(sections.get(section) ?? [0, 0]))
    const octets = partial === null ? whole : whole.slice(partial.from, partial.from + partial.count)
    return `${name}${partial === null ? "" : `<${partial.from}>`} {${octets.length}}\r\n${octets}`
  })
  return `* ${number} FETCH (UID ${uidOf(number)} ${data.join(" ")})\r\n`
}

const uidOf = (number: number): number => number + 1000

/** Serves `messages`, as stored, by number and by UID. */
async function serve(stream: Duplex, messages: readonly RandomMessage[]): Promise<void> {
  stream.write("* PREAUTH [CAPABILITY IMAP4rev1] ready\r\n")
  const commands = new Lines(stream)
  for (;;) {
    const [tag = "", ...words] = (await commands.next()).split(" ")
    const [, uid, set = ""] = /^(UID )?FETCH (\d+) /.exec(words.join(" ")) ?? []
    const number = Number(set) - (uid === undefined ? 0 : uidOf(0))
    const message = messages[number - 1]
    if (message) stream.write(answerTo(words.join(" "), number, message.stored, message.sections), "latin1")
    if (words[0] === "SELECT") stream.write("* OK [UIDVALIDITY 1] ready\r\n")
    stream.write(`${tag} OK done\r\n`)
  }
}

/** Where a partial begins: anywhere, and around the places where both forms differ. */
const partial = fc.record({
  near: fc.boolean(),
  place: fc.double({ min: 0, max: 1, noNaN: true }),
  shift: fc.integer({ min: -150, max: 150 }),
  count: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 100_000 })),
})
const item = fc.record({ choice: fc.nat(), partial: fc.option(partial), old: fc.boolean(), peek: fc.boolean() })
const command = fc.record({ byUid: fc.boolean(), items: fc.array(item, { minLength: 1, maxLength: 3 }) })

type ItemChoice = typeof item extends fc.Arbitrary<infer T> ? T : never

function itemText(message: RandomMessage, { choice, partial: chosen, old, peek }: ItemChoice): string {
  const names = [...message.sections.keys()]
  const section = names[choice % names.length] ?? ""
  if (old && chosen === null && section === "") return "RFC822"
  if (old && chosen === null && section === "TEXT") return "RFC822.TEXT"
  const name = `BODY${peek ? ".PEEK" : ""}[${section}]`
  if (chosen === null) return name
  const [start, end] = message.sections.get(section) ?? [0, 0]
  const differing = firstDifference(message.stored, message.expected) - start
  const from = Math.max(0, (chosen.near ? differing : Math.floor(chosen.place * (end - start))) + chosen.shift)
  return `${name}<${from}.${chosen.count}>`
}

function firstDifference(one: string, other: string): number {
  for (let at = 0; at < one.length; at += 1) if (one[at] !== other[at]) return at
  return one.length
}

test("what is served is the patched whole, sliced: any message, section and partial, cold and warm, by number and by UID", async () => {
  const messages: RandomMessage[] = []
  await using server = await scripted((stream) => serve(stream, messages))
  await using rig = await startRig({ upstream: server.upstream, tlsMode: "implicit" })
  using client = await WireClient.connect(rig.port, { tls: true })
  await client.write(`a LOGIN ${ACCOUNT} ${quoted(LAPTOP)}\r\nb SELECT INBOX\r\n`)
  await client.until(/^b OK .*\r\n/m)
  await fc.assert(
    fc.asyncProperty(randomMessage, fc.array(command, { minLength: 1, maxLength: 3 }), async (message, commands) => {
      expect(message.expected).toHaveLength(message.stored.length)
      expect(message.expected === message.stored).toBe(false)
      const number = messages.push(message)
      const texts = commands.map(({ byUid, items }) => {
        const set = byUid ? `UID FETCH ${uidOf(number)}` : `FETCH ${number}`
        return `${set} (${items.map((chosen) => itemText(message, chosen)).join(" ")})`
      })
      for (const text of [...texts, ...texts]) {
        await client.write(`c ${text}\r\n`)
        const expected = `${answerTo(text, number, message.expected, message.sections)}c OK done\r\n`
        const answer = Buffer.from(await client.take(expected.length)).toString("latin1")
        // Not toBe: a difference of 100 KB says less than where it is.
        if (answer !== expected)
          throw new Error(`${text}: differs at ${firstDifference(answer, expected)} of ${expected.length}`)
      }
    }),
    { numRuns },
  )
  expect(rig.counted("postern_imap_window_unfitting_total")).toBe(0)
})
