import { RecryptionStream } from "../../crypto/recryption/stream.ts"
import { type Context, type FoundWindow, type OwnFetch, windowKey } from "../context.ts"
import type { LineRoute } from "../line-route.ts"
import type { MarkerCheck } from "../ports.ts"
import { FetchScanner, type FetchValue, type MessageData, messageDataOf } from "../wire/fetch-scanner.ts"
import { latin1 } from "../wire/tokens.ts"
import { countBlocks, integrityOf, optionsFor, unquote } from "./fetch-response.ts"

/** Covers the header and the window of nearly every message; where it does not, the section is read to its end. */
const FIRST_OCTETS = 65_536

/** Which windows to learn. */
export interface WindowRequest {
  readonly byUid: boolean
  /** A sequence set, as text. */
  readonly set: string
  readonly sections: readonly string[]
}

/**
 * Learns window records by a FETCH of our own (with PEEK, invisible to the client), while no command of the client is in flight.
 * Numbers stay numbers and UIDs stay UIDs: only then may the server announce exactly what it may during the client's own command
 * (RFC 9051 §7.5.1: no EXPUNGE during FETCH).
 */
export async function fetchWindows(context: Context, request: WindowRequest): Promise<void> {
  const long: { uid: number; section: string }[] = []
  await ownFetch(context, request, {
    askedOctets: FIRST_OCTETS,
    checked: false,
    found: (uid, section, window) => {
      if (window.kind === "needsMore") long.push({ uid, section })
      else remember(context, uid, section, window)
    },
  })
  for (const { uid, section } of long) await fetchWhole(context, request, uid, section)
}

/** Learns whether messages are what their markers vouch for: each streams by as a whole, and is not kept. */
export async function checkMessages(context: Context, request: Omit<WindowRequest, "sections">): Promise<void> {
  await ownFetch(context, { ...request, sections: [""] }, wholeSections(context, true))
}

/** One message whose window does not show in its first octets: its section streams by and is not kept. */
async function fetchWhole(context: Context, request: WindowRequest, uid: number, section: string): Promise<void> {
  const number = request.byUid ? uid : context.mailbox.numberOf(uid)
  if (number === null) return
  const { byUid } = request
  await ownFetch(context, { byUid, set: `${number}`, sections: [section] }, wholeSections(context, false))
}

function wholeSections(context: Context, checked: boolean): OwnFetch {
  return { askedOctets: null, checked, found: (uid, section, window) => remember(context, uid, section, window) }
}

function remember(context: Context, uid: number, section: string, window: FoundWindow): void {
  const key = windowKey(context, uid, section)
  if (key === null || window.kind !== "known") return
  const known = context.windows.find(key)
  // What a whole message came to is not forgotten for a look at its beginning.
  if (known === null || known.integrity === "unchecked") context.windows.add(key, window.record)
}

async function ownFetch(context: Context, request: WindowRequest, own: OwnFetch): Promise<void> {
  const partial = own.askedOctets === null ? "" : `<0.${own.askedOctets}>`
  const items = request.sections.map((section) => `BODY.PEEK[${section}]${partial}`)
  context.ownFetch = own
  // No command of the client is in flight, so the tag cannot collide with one of the client's.
  const finish = (): void => {
    context.ownFetch = null
  }
  context.pending.add({ tag: OWN_TAG, name: "FETCH", intercept: finish })
  const command = request.byUid ? "UID FETCH" : "FETCH"
  context.upstream.write(`${OWN_TAG} ${command} ${request.set} (UID ${items.join(" ")})\r\n`)
  await context.upstream.flush()
  await context.pending.below(1)
}

/** A FETCH response that answers us: its message data is looked through, and only what the server added is passed on. */
export class OwnFetchResponse implements LineRoute {
  readonly #context: Context
  readonly #own: OwnFetch
  readonly #number: number
  readonly #scanner = new FetchScanner()
  readonly #windows = new Map<string, FoundWindow>()
  readonly #unsolicited: string[] = []
  #uid: number | null = null
  #current: Looked | null = null

  constructor(context: Context, own: OwnFetch, number: number) {
    this.#context = context
    this.#own = own
    this.#number = number
  }

  text(octets: Uint8Array, text: string, from: number): void {
    for (const value of this.#scanner.text(text, from)) this.#value(value, octets)
  }

  literal(size: number): void {
    const data = messageDataOf(this.#scanner.literal() ?? "")
    this.#current = data === null ? null : this.#look(data.section, size)
  }

  data(octets: Uint8Array, last: boolean): void {
    const current = this.#current
    if (current === null) return
    current.stream.push(octets)
    if (!last) return
    this.#finish(current)
    this.#current = null
  }

  end(): void {
    if (this.#uid !== null) {
      this.#context.mailbox.learn(this.#number, this.#uid)
      for (const [section, window] of this.#windows) this.#own.found(this.#uid, section, window)
    }
    if (this.#unsolicited.length === 0) return
    this.#context.client.relay(
      Buffer.from(`* ${this.#number} FETCH (UID ${this.#uid} ${this.#unsolicited.join(" ")})`, "latin1"),
    )
    this.#context.client.endResponse()
  }

  #value(value: FetchValue, octets: Uint8Array): void {
    const data = messageDataOf(value.item)
    if (data !== null) this.#shortData(data, value, octets)
    else if (value.item === "UID" && value.kind === "atom") this.#uid = Number(value.text)
    else if (value.kind === "atom") this.#unsolicited.push(`${value.item} ${value.text}`)
    else this.#unsolicited.push(`${value.item} ${latin1(octets.subarray(value.start, value.end))}`)
  }

  /** Message data as a quoted string or NIL. */
  #shortData(data: MessageData, value: FetchValue, octets: Uint8Array): void {
    const short = value.kind === "quoted" ? unquote(octets.subarray(value.start, value.end)) : new Uint8Array(0)
    const looked = this.#look(data.section, short.length)
    looked.stream.push(short)
    this.#finish(looked)
  }

  #look(section: string, size: number): Looked {
    const { recryptors, markers } = this.#context.device
    const check = this.#own.checked && section === "" ? markers.check() : null
    return { section, size, check, stream: new RecryptionStream(recryptors, optionsFor(check)) }
  }

  #finish({ section, size, stream, check }: Looked): void {
    const whole = this.#own.askedOctets === null || size < this.#own.askedOctets
    if (whole) stream.end()
    if (!whole && !stream.settled) {
      this.#windows.set(section, { kind: "needsMore" })
      return
    }
    countBlocks(this.#context, stream)
    const record = { patches: stream.patches, integrity: integrityOf(this.#context, check) }
    this.#windows.set(section, { kind: "known", record })
  }
}

/** Message data of one section on its way past us. */
interface Looked {
  readonly section: string
  readonly size: number
  readonly stream: RecryptionStream
  readonly check: MarkerCheck | null
}

const OWN_TAG = "postern1"
