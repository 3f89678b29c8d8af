import { GatewayError } from "../errors.ts"
import type { HttpsPeers, PeerAnswer } from "../net/https-peers.ts"

/** Where what is fetched goes, as far as it has come. */
export interface FetchedPart {
  readonly sizeOctets: number
  append(source: AsyncIterable<Uint8Array>): Promise<void>
  clear(): Promise<void>
  finish(): Promise<void>
}

export type Fetched = { readonly kind: "whole" } | { readonly kind: "later" | "gone"; readonly diagnostic: string }

/**
 * Fetches published mail, from where it broke off before. What came is kept whatever happens, and verified by whoever reads it.
 * @param part the same file each time, as it is then
 * @param limitMs of all of it; what is not there by then is fetched by the next attempt at delivery
 */
export async function fetchBulk(
  url: URL,
  part: () => Promise<FetchedPart>,
  maxOctets: number,
  peers: HttpsPeers,
  signal: AbortSignal,
  limitMs = FETCH_MS,
): Promise<Fetched> {
  const limit = AbortSignal.timeout(limitMs)
  try {
    return await fetched(url, part, maxOctets, peers, AbortSignal.any([signal, limit]))
  } catch (error) {
    signal.throwIfAborted()
    if (limit.aborted) return { kind: "later", diagnostic: `${url.host}: is not through after ${limitMs / 1000} s` }
    throw error
  }
}

async function fetched(...[url, part, maxOctets, peers, signal]: Fetching): Promise<Fetched> {
  for (;;) {
    const before = await part()
    const once = await fetchOnce(url, before, maxOctets, peers, signal)
    if (once.kind !== "broken") return once
    // Again at once while there is something to show for it; else the next attempt at delivery goes on here.
    if ((await part()).sizeOctets <= before.sizeOctets) return { kind: "later", diagnostic: once.diagnostic }
  }
}

type Fetching = [url: URL, part: () => Promise<FetchedPart>, maxOctets: number, peers: HttpsPeers, signal: AbortSignal]
type Once = Fetched | { readonly kind: "broken"; readonly diagnostic: string }

async function fetchOnce(
  url: URL,
  part: FetchedPart,
  maxOctets: number,
  peers: HttpsPeers,
  signal: AbortSignal,
): Promise<Once> {
  try {
    const { sizeOctets } = part
    const fields: Readonly<Record<string, string>> = sizeOctets === 0 ? {} : { range: `bytes=${sizeOctets}-` }
    const answer = await peers.ask({ url, fields }, signal)
    const step = stepOf(answer, sizeOctets)
    if (step.kind !== "octets") {
      answer.discard()
      if (step.kind === "whole") await part.finish()
      if (step.kind === "anew") await part.clear()
      return step.kind === "anew" ? { kind: "later", diagnostic: `${url.host}: has other octets than before` } : step
    }
    if (step.totalOctets > maxOctets) {
      answer.discard()
      return { kind: "gone", diagnostic: `${url.host}: has more octets than were stated` }
    }
    if (step.from === 0) await part.clear()
    await part.append(exactly(answer.body, step.totalOctets - step.from))
    await part.finish()
    return { kind: "whole" }
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof GatewayError)) throw error
    return { kind: "broken", diagnostic: error.message }
  }
}

type Step =
  | { readonly kind: "octets"; readonly from: number; readonly totalOctets: number }
  | { readonly kind: "whole" }
  /** What is there is not the beginning of what is published. */
  | { readonly kind: "anew" }
  | { readonly kind: "later" | "gone"; readonly diagnostic: string }

function stepOf({ status, headers }: PeerAnswer, haveOctets: number): Step {
  if (status === 200) {
    const totalOctets = Number(headers["content-length"] ?? Number.NaN)
    return Number.isSafeInteger(totalOctets)
      ? { kind: "octets", from: 0, totalOctets }
      : { kind: "later", diagnostic: "published mail: nobody says how long it is" }
  }
  const [, from, total] = /^bytes (?:(\d{1,15})-\d{1,15}|\*)\/(\d{1,15})$/.exec(headers["content-range"] ?? "") ?? []
  if (status === 206 && from !== undefined && Number(from) === haveOctets)
    return { kind: "octets", from: haveOctets, totalOctets: Number(total) }
  if (status === 416 || status === 206) return Number(total) === haveOctets ? { kind: "whole" } : { kind: "anew" }
  const diagnostic = `published mail: HTTP ${status}`
  return { kind: status === 404 || status === 410 ? "gone" : "later", diagnostic }
}

/** @throws GatewayError WEB_BROKEN when there are fewer octets, or more */
async function* exactly(body: AsyncIterable<Uint8Array>, octets: number): AsyncGenerator<Uint8Array> {
  let left = octets
  for await (const piece of body) {
    left -= piece.length
    if (left < 0) throw new GatewayError("WEB_BROKEN", "published mail: is longer than was said")
    yield piece
  }
  if (left > 0) throw new GatewayError("WEB_BROKEN", "published mail: broke off")
}

/** Whoever gives out an octet now and then must not hold an attempt at delivery for as long as he likes. */
const FETCH_MS = 600_000
