import { type ErrorCode, GatewayError } from "../errors.ts"
import type { HttpsPeers, PeerAnswer } from "../net/https-peers.ts"

/** Where what is fetched goes, as far as it was kept: octets from one place up to another, which is not among them. Both are 0: nothing was. */
export interface FetchedPart {
  readonly startOctets: number
  readonly endOctets: number
  /** What was kept. */
  content(): AsyncIterable<Uint8Array>
  /**
   * Passes octets on and adds them to what was kept, or begins with them; what there is by the time that the source fails, or nobody takes any more, is kept.
   * @param from their place: the end of what was kept, where there is something
   */
  keep(source: AsyncIterable<Uint8Array>, from: number): AsyncIterable<Uint8Array>
  clear(): Promise<void>
  finish(): Promise<void>
}

/** Published mail, where it is, and how much of it is taken. */
export interface BulkSource {
  readonly url: URL
  /** The same file each time, as it is then. */
  readonly part: () => Promise<FetchedPart>
  readonly maxOctets: number
  readonly peers: HttpsPeers
  /**
   * For so long nothing is kept: who reads it has it once he has read it, and if that fails it comes again as fast. What takes longer is kept from there on.
   * 0: whoever reads it reads it again.
   */
  readonly passingMs: number
}

/**
 * Published mail from its beginning: what was kept before, and the rest as it comes, which goes on where it breaks off. What is kept is kept whatever happens, and
 * verified by whoever reads it.
 * @param limitMs of all of it; what is not there by then is fetched by the next attempt at delivery
 * @throws GatewayError MESH_LATER; MESH_MISSING: it is not there (404), now at least; MESH_GONE: it will not be
 */
export async function* fetchBulk(
  source: BulkSource,
  signal: AbortSignal,
  limitMs = FETCH_MS,
): AsyncGenerator<Uint8Array> {
  const limit = AbortSignal.timeout(limitMs)
  try {
    yield* fetched(source, AbortSignal.any([signal, limit]))
  } catch (error) {
    signal.throwIfAborted()
    if (limit.aborted) throw later(`${source.url.host}: is not through after ${limitMs / 1000} s`)
    throw error
  }
}

async function* fetched(source: BulkSource, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const keepAt = performance.now() + source.passingMs
  const kept = await source.part()
  for (let have = 0; ; ) {
    if (have === kept.startOctets) {
      yield* kept.content()
      have = kept.endOctets
    }
    const isBefore = have < kept.startOctets
    const before = have
    try {
      const pieces = isBefore ? between(source, have, kept.startOctets, signal) : rest(source, have, keepAt, signal)
      for await (const piece of pieces) {
        have += piece.length
        yield piece
      }
      if (!isBefore) return await (await source.part()).finish()
      if (have === before) throw later(`${source.url.host}: does not give out what was fetched before`)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof GatewayError) || SETTLED.has(error.code)) throw error
      // Again at once while there is something to show for it; else the next attempt at delivery goes on here.
      if (have <= before) throw later(error.message, error)
    }
  }
}

/** What is still to come of it, kept from some time on, or as soon as something was. */
async function* rest(
  source: BulkSource,
  haveOctets: number,
  keepAt: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  await using octets = given(source, haveOctets, null, signal)
  let have = haveOctets
  const kept = await source.part()
  while (kept.endOctets === 0 && performance.now() < keepAt) {
    const next = await octets.next()
    if (next.done) return
    have += next.value.length
    yield next.value
  }
  yield* kept.keep(octets, have)
}

/** What was not kept of what came before. */
async function* between(
  source: BulkSource,
  haveOctets: number,
  endOctets: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let left = endOctets - haveOctets
  for await (const piece of given(source, haveOctets, endOctets, signal)) {
    // Whoever knows no ranges gives out more.
    yield piece.subarray(0, left)
    left -= piece.length
    if (left <= 0) return
  }
}

/** What its publisher gives out from one place on, up to another or (null) its end; he may give out more than was asked for. */
async function* given(
  { url, part, maxOctets, peers }: BulkSource,
  haveOctets: number,
  endOctets: number | null,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const range = `bytes=${haveOctets}-${endOctets === null ? "" : endOctets - 1}`
  const answer = await peers.ask({ url, fields: range === "bytes=0-" ? {} : { range } }, signal)
  const step = stepOf(answer, haveOctets)
  if (step.kind === "octets" && step.totalOctets <= maxOctets) {
    const octets = exactly(answer.body, step.to - step.from)
    yield* step.from === haveOctets ? octets : behind(octets, haveOctets)
    if (endOctets === null && step.to < step.totalOctets) throw brokeOff()
    return
  }
  answer.discard()
  if (step.kind === "whole") return
  if (step.kind === "octets") throw gone(`${url.host}: has more octets than were stated`)
  if (step.kind === "anew") {
    await (await part()).clear()
    throw later(`${url.host}: has other octets than before`)
  }
  throw new GatewayError(step.code, `${url.host}: ${step.diagnostic}`)
}

type Step =
  /** From one place up to another, of so many. */
  | { readonly kind: "octets"; readonly from: number; readonly to: number; readonly totalOctets: number }
  | { readonly kind: "whole" }
  /** What is there is not the beginning of what is published. */
  | { readonly kind: "anew" }
  | { readonly kind: "none"; readonly code: ErrorCode; readonly diagnostic: string }

function stepOf({ status, headers }: PeerAnswer, haveOctets: number): Step {
  if (status === 200) {
    const totalOctets = Number(headers["content-length"] ?? Number.NaN)
    if (!Number.isSafeInteger(totalOctets))
      return { kind: "none", code: "MESH_LATER", diagnostic: "published mail: nobody says how long it is" }
    return totalOctets < haveOctets ? { kind: "anew" } : { kind: "octets", from: 0, to: totalOctets, totalOctets }
  }
  const [, from, last, total] =
    /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15})$/.exec(headers["content-range"] ?? "") ?? []
  if (status === 206 && from !== undefined && Number(from) === haveOctets && Number(last) >= haveOctets)
    return { kind: "octets", from: haveOctets, to: Number(last) + 1, totalOctets: Number(total) }
  if (status === 416 || status === 206) return Number(total) === haveOctets ? { kind: "whole" } : { kind: "anew" }
  return { kind: "none", code: CODES.get(status) ?? "MESH_LATER", diagnostic: `published mail: HTTP ${status}` }
}

/** RFC 9110 §15.5.5: 404 does not say for how long, and a disk that is being restored or a proxy that is led astray says it, too; 410 does (§15.5.11). */
const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [404, "MESH_MISSING"],
  [410, "MESH_GONE"],
])
const SETTLED: ReadonlySet<ErrorCode> = new Set(["MESH_LATER", "MESH_MISSING", "MESH_GONE"])

/** @throws GatewayError WEB_BROKEN when there are fewer octets, or more */
async function* exactly(body: AsyncIterable<Uint8Array>, octets: number): AsyncGenerator<Uint8Array> {
  let left = octets
  for await (const piece of body) {
    left -= piece.length
    if (left < 0) throw new GatewayError("WEB_BROKEN", "published mail: is longer than was said")
    yield piece
  }
  if (left > 0) throw brokeOff()
}

/** Without the first octets, which whoever knows no ranges gives out again. */
async function* behind(octets: AsyncIterable<Uint8Array>, skipOctets: number): AsyncGenerator<Uint8Array> {
  let skip = skipOctets
  for await (const piece of octets) {
    if (skip < piece.length) yield piece.subarray(skip)
    skip = Math.max(0, skip - piece.length)
  }
}

function brokeOff(): GatewayError {
  return new GatewayError("WEB_BROKEN", "published mail: broke off")
}

function later(diagnostic: string, cause?: unknown): GatewayError {
  return new GatewayError("MESH_LATER", diagnostic, { cause })
}

function gone(diagnostic: string): GatewayError {
  return new GatewayError("MESH_GONE", diagnostic)
}

/** Whoever gives out an octet now and then must not hold an attempt at delivery for as long as he likes. */
const FETCH_MS = 600_000
