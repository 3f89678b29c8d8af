import { type RecryptionOptions, RecryptionStream } from "../../crypto/recryption/stream.ts"
import { GatewayError } from "../../errors.ts"
import { type Context, verdictKey, windowKey } from "../context.ts"
import type { LineRoute } from "../line-route.ts"
import type { MarkerCheck } from "../ports.ts"
import { applyWindow, type Integrity, type WindowRecord } from "../windows.ts"
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

  text(octets: Uint8Array, text: string, from: number): void {
    let relayed = 0
    for (const value of this.#scanner.text(text, from)) {
      if (value.kind === "atom" && value.item === "UID") this.#learnUid(value.text)
      if (value.kind !== "quoted") continue
      this.#context.client.relay(octets.subarray(relayed, value.start))
      this.#context.client.relay(this.#patchQuoted(value, octets.subarray(value.start, value.end)))
      relayed = value.end
    }
    this.#context.client.relay(relayed === 0 ? octets : octets.subarray(relayed))
  }

  literal(_size: number, marker: Uint8Array): void {
    const item = this.#scanner.literal()
    this.#patcher = item === null ? null : this.#patcherOf(item)
    this.#context.client.relay(marker)
  }

  data(octets: Uint8Array, last: boolean): void {
    const patcher = this.#patcher
    // The end comes first: what it refuses must not be relayed.
    const pieces = patcher ? [...patcher.push(octets), ...(last ? patcher.end() : [])] : [octets]
    for (const piece of pieces) this.#context.client.relay(piece)
    if (last) this.#patcher = null
  }

  end(lineEnd: Uint8Array): void {
    this.#context.client.endResponse(lineEnd)
  }

  #learnUid(text: string): void {
    this.#uid = Number(text)
    this.#context.mailbox.learn(this.#number, this.#uid)
  }

  /** @throws GatewayError MESSAGE_ALTERED for any part of such a message, when they are not handed out */
  #patcherOf(item: string): Patcher | null {
    const data = messageDataOf(item)
    const { device } = this.#context
    if (data === null || device.recryptors.length === 0) return null
    if (isRefused(this.#context, this.#uid)) throw alteredMessage()
    const uid = this.#uid
    const key = uid === null ? null : windowKey(this.#context, uid, data.section)
    const record = key === null ? null : this.#context.windows.find(key)
    const whole = data.section === "" && data.origin === null
    const verdict = whole ? new Verdict(this.#context, uid) : null
    if (
      uid !== null &&
      key !== null &&
      record !== null &&
      (record.integrity !== "unchecked" || verdict?.known !== null)
    )
      return windowPatcher(this.#context, { uid, key }, record, data.origin ?? 0)
    if (data.origin !== null) return this.#unknownWindow(data)
    return streamPatcher(this.#context, key, verdict)
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

/** A message of which there is a record. */
interface Recorded {
  readonly uid: number
  readonly key: string
}

/** The change is known: a span from `origin` on is overwritten where it meets the window. */
function windowPatcher(context: Context, recorded: Recorded, { patches }: WindowRecord, origin: number): Patcher {
  let at = origin
  return {
    push: (octets) => {
      const patched = applyWindow(octets, at, patches, context.upstream.ownsOctets)
      at += octets.length
      return [patched ?? unfitting(context, recorded, octets)]
    },
    end: () => [],
  }
}

/** The server has another message under this UID than before: handed out as it is stored, and looked at anew next time. */
function unfitting(context: Context, { uid, key }: Recorded, octets: Uint8Array): Uint8Array {
  context.windows.forget(key)
  const verdict = verdictKey(context, uid)
  if (verdict !== null) context.windows.forget(verdict)
  context.counters.add("postern_imap_window_unfitting_total")
  context.log.warn("imap.window.unfitting", { mailbox: context.mailbox.key })
  return octets
}

/** The change is found while a whole section streams by, and kept for its partials. */
function streamPatcher(context: Context, key: string | null, verdict: Verdict | null): Patcher {
  const stream = new RecryptionStream(context.device.recryptors, optionsFor(verdict?.check ?? null))
  return {
    push: (octets) => stream.push(octets),
    end: () => {
      const rest = stream.end()
      const integrity = verdict?.end() ?? "unchecked"
      if (key !== null) context.windows.add(key, { patches: stream.patches, integrity })
      countBlocks(context, stream)
      if (integrity === "altered" && context.device.markers.onAltered === "refuse") throw alteredMessage()
      return rest
    },
  }
}

/**
 * Whether one whole message is what its marker vouches for. It is looked at once for all devices of the account: the octets that count are
 * the same in every device's form. Where altered messages are refused, each device's first look is its own.
 */
class Verdict {
  /** null: this look is to find out. */
  readonly known: Integrity | null
  readonly check: MarkerCheck | null
  readonly #context: Context
  readonly #key: string | null

  constructor(context: Context, uid: number | null) {
    const { markers } = context.device
    this.#context = context
    this.#key = uid === null || markers.onAltered === "refuse" ? null : verdictKey(context, uid)
    this.known = this.#key === null ? null : context.windows.verdict(this.#key)
    this.check = this.known === null ? markers.check() : null
  }

  /** The message has passed. */
  end(): Integrity {
    const verdict = this.known ?? integrityOf(this.#context, this.check)
    if (this.#key !== null && this.known === null) this.#context.windows.addVerdict(this.#key, verdict)
    return verdict
  }
}

/** What a check, if there is one, has to be fed with. */
export function optionsFor(check: MarkerCheck | null): RecryptionOptions {
  return check ? { onStable: (octets: Uint8Array) => check.push(octets) } : {}
}

/** What the check of a whole message came to; an altered message is counted and told. */
export function integrityOf(context: Context, check: MarkerCheck | null): Integrity {
  const integrity = check?.end() ?? "unchecked"
  if (integrity === "altered") {
    context.counters.add("postern_imap_marker_failed_total")
    context.log.warn("imap.marker.failed", { account: context.device.account, mailbox: context.mailbox.key })
  }
  return integrity
}

/** True for a message that is known to be altered, when such messages are not handed out. */
function isRefused(context: Context, uid: number | null): boolean {
  if (uid === null || context.device.markers.onAltered !== "refuse") return false
  const key = windowKey(context, uid, "")
  return key !== null && context.windows.find(key)?.integrity === "altered"
}

function alteredMessage(): GatewayError {
  return new GatewayError("MESSAGE_ALTERED", "stored message does not fit its marker")
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
