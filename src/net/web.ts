/** One question to a web server that somebody else named. */
export interface WebRequest {
  readonly url: URL
  /** POSTed; GET without it. */
  readonly body?: { readonly type: string; readonly octets: Uint8Array }
  /** The answer may be this long. */
  readonly maxOctets: number
}

export interface WebAnswer {
  readonly status: number
  /** Media type, lower case, without parameters. */
  readonly type: string
  readonly body: Uint8Array
  /** Who answered in the end, after redirects. */
  readonly url: URL
}

/**
 * Asks web servers whose names strangers chose: only public addresses, few redirects, bounded answers and time; certificates are verified.
 * @throws Error that says what went wrong; an answer of whatever status is none
 */
export type AskWeb = (asked: WebRequest, signal: AbortSignal) => Promise<WebAnswer>
