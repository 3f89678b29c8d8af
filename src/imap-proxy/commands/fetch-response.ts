import { RecryptionStream } from "../../crypto/recryption/stream.ts"
import { GatewayError } from "../../errors.ts"
import { type Context, windowKey } from "../context.ts"
import type { LineRoute } from "../line-route.ts"
import type { MarkerCheck } from "../ports.ts"
import { applyWindow, type WindowRecord } from "../windows.ts"
import { FetchScanner, type FetchValue, type MessageData, messageDataOf } from "../wire/fetch-scanner.ts"
import { latin1 } from "../wire/tokens.ts"

/**
 * One `* n FETCH (…)` on its way to the client: message data is patched for the device while it streams, in whatever order and under
 * whatever name it comes; everything else passes as it is.
 */
export class FetchResponse implements LineRoute {
  readonly #context: Context
  readonly #number: number
  readonly #scanner = new FetchScanner()
  #uid: number | null
  #patcher: Patcher | null = null

  constructor(context: Context, number: number) {
    this.#context = context
    this.#number = number
    this.#uid = context.mailbox.uidOf(number)
  }

  text(octets: Uint8Array, from: number): void {
    this.#context.client.relay(octets.subarray(0, from))
    const text = octets.subarray(from)
    let at = 0
    for (const value of this.#scanner.text(text)) {
      if (value.kind === "atom" && value.item === "UID") this.#learnUid(value.text)
      if (value.kind !== "quoted") continue
      this.#context.client.relay(text.subarray(at, value.start))
      this.#context.client.relay(this.#patchQuoted(value, text.subarray(value.start, value.end)))
      at = value.end
    }
    this.#context.client.relay(text.subarray(at))
  }

  literal(_size: number, marker: Uint8Array): void {
    const item = this.#scanner.literal()
    this.#patcher = item === null ? null : this.#patcherOf(item)
    this.#context.client.relay(marker)
    this.#context.client.relay(CRLF)
  }

  data(octets: Uint8Array, last: boolean): void {
    const patcher = this.#patcher
    // The end comes first: what it refuses must not be relayed.
    const pieces = patcher ? [...patcher.push(octets), ...(last ? patcher.end() : [])] : [octets]
    for (const piece of pieces) this.#context.client.relay(piece)
    if (last) this.#patcher = null
  }

  end(): void {
    this.#context.client.endResponse()
  }

  #learnUid(text: string): void {
    this.#uid = Number(text)
    this.#context.mailbox.learn(this.#number, this.#uid)
  }

  #patcherOf(item: string): Patcher | null {
    const data = messageDataOf(item)
    if (data === null || this.#context.device.recryptors.length === 0) return null
    const key = this.#uid === null ? null : windowKey(this.#context, this.#uid, data.section)
    const record = key === null ? null : this.#context.windows.find(key)
    const whole = data.section === "" && data.origin === null
    const strict = whole && this.#context.device.markers.onAltered === "refuse"
    if (record !== null && !strict) return windowPatcher(record, data.origin ?? 0)
    if (data.origin !== null) return this.#unknownWindow(data)
    return streamPatcher(this.#context, key, whole ? this.#context.device.markers.check() : null)
  }

  /** Cannot happen after fetch.ts asked for the windows, unless the server answers what nobody asked: hand out what is stored. */
  #unknownWindow(data: MessageData): null {
    this.#context.log.warn("imap.window.unknown", { section: data.section, origin: data.origin })
    return null
  }

  /** RFC 9051 §9: nstring; a server may send short data quoted. */
  #patchQuoted(value: FetchValue, quoted: Uint8Array): Uint8Array {
    const patcher = this.#patcherOf(value.item)
    if (patcher === null) return quoted
    const pieces = [...patcher.push(unquote(quoted)), ...patcher.end()]
    return Buffer.from(`"${latin1(Buffer.concat(pieces)).replaceAll(/["\\]/g, "\\$&")}"`, "latin1")
  }
}

/** The octets between the quotes, unescaped. */
export function unquote(quoted: Uint8Array): Uint8Array {
  return Buffer.from(latin1(quoted.subarray(1, -1)).replaceAll(/\\(.)/gs, "$1"), "latin1")
}

interface Patcher {
  push(octets: Uint8Array): readonly Uint8Array[]
  end(): readonly Uint8Array[]
}

/** The change is known: a span from `origin` on is overwritten where it meets the window. */
function windowPatcher(record: WindowRecord, origin: number): Patcher {
  let at = origin
  return {
    push: (octets) => {
      const patched = applyWindow(octets, at, record)
      at += octets.length
      return [patched]
    },
    end: () => [],
  }
}

/** The change is found while a whole section streams by, and kept for its partials. */
function streamPatcher(context: Context, key: string | null, check: MarkerCheck | null): Patcher {
  const options = check ? { onStable: (octets: Uint8Array) => check.push(octets) } : {}
  const stream = new RecryptionStream(context.device.recryptors, options)
  return {
    push: (octets) => stream.push(octets),
    end: () => {
      const rest = stream.end()
      if (key !== null) context.windows.add(key, stream.patches)
      countBlocks(context, stream)
      if (check?.end() === "altered") altered(context)
      return rest
    },
  }
}

/** @throws GatewayError MESSAGE_ALTERED when such messages are not handed out to their end */
function altered(context: Context): void {
  context.counters.add("postern_imap_marker_failed_total")
  context.log.warn("imap.marker.failed", { account: context.device.account, mailbox: context.mailbox.key })
  if (context.device.markers.onAltered === "refuse")
    throw new GatewayError("MESSAGE_ALTERED", "stored message does not fit its marker")
}

/** Tells the metrics what became of the blocks of one section. */
export function countBlocks(context: Context, stream: RecryptionStream): void {
  const { patched, foreign, malformed } = stream.counts
  if (patched > 0) context.counters.add("postern_imap_patched_total", {}, patched)
  if (foreign > 0) context.counters.add("postern_imap_foreign_total", {}, foreign)
  if (malformed > 0) {
    context.counters.add("postern_imap_malformed_total", {}, malformed)
    context.log.warn("imap.block.malformed", { count: malformed })
  }
}

const CRLF = Buffer.from("\r\n")
