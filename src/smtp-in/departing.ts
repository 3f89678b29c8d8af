import { GatewayError } from "../errors.ts"
import type { ContentVerdict } from "./content.ts"
import type { ArrivingEntry, Departures } from "./ports.ts"

/**
 * Passes a message of our people on, and refuses it behind its last octet, which is before 250, where policy says that it must not leave as it is.
 * Throws GatewayError ENCRYPTION_REQUIRED, which names the recipients.
 */
export function departing(
  content: AsyncIterable<Uint8Array>,
  { envelope, origin }: Pick<ArrivingEntry, "envelope" | "origin">,
  departures: Departures | null,
  verdict: ContentVerdict,
): AsyncIterable<Uint8Array> {
  const departure = departures?.begin(envelope, origin.account) ?? null
  return departure === null ? content : watched(content, departure, verdict)
}

async function* watched(
  content: AsyncIterable<Uint8Array>,
  departure: NonNullable<ReturnType<Departures["begin"]>>,
  verdict: ContentVerdict,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const octets of content) {
    departure.push(octets)
    yield octets
  }
  const because = await departure.end()
  if (because === null) return
  verdict.refusal = new GatewayError("ENCRYPTION_REQUIRED", because)
  throw verdict.refusal
}
