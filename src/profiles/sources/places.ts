import { GatewayError } from "../../errors.ts"
import type { AskWeb, WebAnswer } from "../../net/web.ts"

/** What was heard where something is published. */
export interface Heard {
  /** null: it is not there. */
  readonly answer: WebAnswer | null
  readonly remarks: readonly string[]
}

/** How a source asks. */
export interface Asking {
  /** Name of the source. */
  readonly source: string
  readonly ask: AskWeb
  readonly maxOctets: number
  /** An administrator named the host. */
  readonly isTrusted?: boolean
}

/**
 * Asks the first of these URLs whose host has an address; the others are for domains without that host.
 * @throws GatewayError KEY_SOURCE_SILENT
 */
export async function askPlaces(asking: Asking, places: readonly URL[], signal: AbortSignal): Promise<Heard> {
  for (const url of places) {
    const answer = await askPlace(asking, url, signal)
    if (answer !== null) return { answer: whatIsThere(asking.source, answer), remarks: [] }
  }
  return { answer: null, remarks: [`no address: ${places.map(({ host }) => host).join(", ")}`] }
}

/**
 * @returns null: the host has no address, by DNS
 * @throws GatewayError KEY_SOURCE_SILENT; its cause is what {@link AskWeb} threw
 */
export async function askPlace(
  { source, ask, maxOctets, isTrusted = false }: Asking,
  url: URL,
  signal: AbortSignal,
): Promise<WebAnswer | null> {
  try {
    return await ask({ url, maxOctets, isTrusted }, signal)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof GatewayError)) throw error
    if (error.code === "WEB_NO_NAME" || error.code === "WEB_NO_ADDRESS") return null
    throw silence(source, error.message, error)
  }
}

/**
 * Status 200 is an answer; 404 and 410, from a server whose certificate is good, say that there is none. Everything else leaves open whether there is
 * (docs/KEYS.md, "Answers and silence").
 * @returns null: there is none
 * @throws GatewayError KEY_SOURCE_SILENT
 */
export function whatIsThere(source: string, answer: WebAnswer): WebAnswer | null {
  if (answer.status === 200) return answer
  if (answer.status === 404 || answer.status === 410) return null
  throw silence(source, `${answer.url.host} answers ${answer.status}`)
}

/** Nobody knows whether there is a key. */
export function silence(source: string, why: string, cause?: GatewayError): GatewayError {
  return new GatewayError("KEY_SOURCE_SILENT", `${source}: ${why}`, { cause })
}
