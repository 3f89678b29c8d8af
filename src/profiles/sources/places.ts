import { GatewayError } from "../../errors.ts"
import type { AskWeb, WebAnswer } from "../../net/web.ts"

/** What was heard where something is published. */
export interface Heard {
  /** null: it is not there. */
  readonly answer: WebAnswer | null
  readonly remarks: readonly string[]
}

/**
 * Asks the first of these URLs whose host has an address; the others are for domains without that host. Status 200 is an answer; 404 and 410, from a
 * server whose certificate is good, say that there is none. Everything else leaves open whether there is (docs/PROFILE.md, "Answers and silence").
 * @throws GatewayError KEY_SOURCE_SILENT; its cause is what {@link AskWeb} threw, if it did
 */
export async function askPlaces(
  source: string,
  places: readonly URL[],
  { ask, maxOctets }: { readonly ask: AskWeb; readonly maxOctets: number },
  signal: AbortSignal,
): Promise<Heard> {
  for (const url of places) {
    const answer = await answerAt(source, url, { ask, maxOctets }, signal)
    if (answer === "nowhere") continue
    if (answer.status === 200) return { answer, remarks: [] }
    if (answer.status === 404 || answer.status === 410) return { answer: null, remarks: [] }
    throw silent(source, `${answer.url.host} answers ${answer.status}`)
  }
  return { answer: null, remarks: [`no address: ${places.map(({ host }) => host).join(", ")}`] }
}

/** `nowhere`: the host has no address, by DNS. */
async function answerAt(
  source: string,
  url: URL,
  { ask, maxOctets }: { readonly ask: AskWeb; readonly maxOctets: number },
  signal: AbortSignal,
): Promise<WebAnswer | "nowhere"> {
  try {
    return await ask({ url, maxOctets }, signal)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof GatewayError)) throw error
    if (error.code === "WEB_NO_NAME" || error.code === "WEB_NO_ADDRESS") return "nowhere"
    throw silent(source, error.message, error)
  }
}

function silent(source: string, why: string, cause?: GatewayError): GatewayError {
  return new GatewayError("KEY_SOURCE_SILENT", `${source}: ${why}`, { cause })
}
