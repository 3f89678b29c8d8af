import { GatewayError, hasCode } from "../errors.ts"

/** A refusal as the client hears it: reply code, enhanced status code (RFC 3463), one line of text. */
export interface Reply {
  readonly code: number
  readonly status: `${4 | 5}.${number}.${number}`
  readonly text: string
}

/** What smtp-server's handlers take as "say this": `responseCode` and a message that starts with the enhanced status code. */
export type ReplyError = Error & { readonly responseCode: number }

/** The reply as an error for one of smtp-server's callbacks; the connection sends the status code in it as it stands. */
export function replyError(reply: Reply): ReplyError {
  return Object.assign(new Error(`${reply.status} ${reply.text}`), { responseCode: reply.code })
}

/** What is said about a message that acceptance or inspection threw back. */
export function replyFor(error: unknown): Reply {
  if (error instanceof GatewayError) {
    // 523 is what names this in IANA's registry of enhanced status codes; the sender has to know who it is about.
    if (error.code === "ENCRYPTION_REQUIRED") return { code: 523, status: "5.7.10", text: asciiLine(error.message) }
    const reply = CONTENT_REPLIES[error.code]
    if (reply) return reply
  }
  return hasCode(error, "SPOOL_FULL") ? NO_SPACE : LOCAL_ERROR
}

/** RFC 5321 §4.5.3.1.5: 512 octets, code and line end included. */
function asciiLine(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 480)
}

const CONTENT_REPLIES: Readonly<Partial<Record<GatewayError["code"], Reply>>> = {
  LINE_ENDINGS: { code: 550, status: "5.6.0", text: "bare CR or LF in the message" },
  MESSAGE_TOO_LARGE: { code: 552, status: "5.3.4", text: "message is larger than is taken here" },
  HEADER_TOO_LARGE: { code: 552, status: "5.3.4", text: "header section is larger than is taken here" },
  MAIL_LOOP: { code: 554, status: "5.4.6", text: "too many hops, this is a mail loop" },
  DEVICE_REVOKED: {
    code: 550,
    status: "5.7.5",
    text: "encrypted to a device that was revoked; use the recipient's current certificate",
  },
  AUTHOR_REFUSED: { code: 550, status: "5.7.1", text: "From does not name an address of this account" },
  // RFC 5322 §3.6
  AUTHOR_AMBIGUOUS: { code: 550, status: "5.7.1", text: "message has more than one From field" },
  // RFC 7489 §10.3; RFC 7372 has no code for DMARC.
  AUTHENTICATION_FAILED: {
    code: 550,
    status: "5.7.1",
    text: "neither SPF nor DKIM passed for the domain in From, and its DMARC policy is to reject such mail",
  },
  // RFC 7208 §8.6, RFC 3463 §3.5
  AUTHENTICATION_UNDECIDED: {
    code: 451,
    status: "4.4.3",
    text: "no answer from DNS to check the domain in From with, try again later",
  },
  VIRUS_FOUND: { code: 554, status: "5.7.1", text: "message refused: the virus scanner found malware in it" },
  CONTENT_REFUSED: {
    code: 550,
    status: "5.7.1",
    text: "message refused for its content: it was taken for unwanted mail",
  },
  CONTENT_DEFERRED: { code: 451, status: "4.7.1", text: "message not taken at first, try again later" },
  SCAN_TOO_LARGE: { code: 552, status: "5.3.4", text: "message is too large to be scanned here" },
  SCANNER_AWAY: { code: 451, status: "4.3.0", text: "message can't be scanned now, try again later" },
}

const NO_SPACE: Reply = { code: 452, status: "4.3.1", text: "no space, try again later" }
export const LOCAL_ERROR: Reply = { code: 451, status: "4.3.0", text: "can't take this now, try again later" }
export const UNKNOWN_RECIPIENT: Reply = { code: 550, status: "5.1.1", text: "no such mailbox here" }
export const RELAY_DENIED: Reply = { code: 550, status: "5.7.1", text: "this host does not relay for that domain" }
export const SENDER_NOT_OWNED: Reply = {
  code: 550,
  status: "5.7.1",
  text: "reverse-path is no address of this account",
}
export const SENDER_MISSING: Reply = { code: 550, status: "5.7.1", text: "submission needs a reverse-path" }
export const UTF8_NOT_DECLARED: Reply = { code: 553, status: "5.6.7", text: "non-ASCII address without SMTPUTF8" }
export const UNKNOWN_PARAMETER: Reply = { code: 555, status: "5.5.4", text: "parameter not implemented" }
export const TLS_REQUIRED: Reply = { code: 530, status: "5.7.0", text: "must issue a STARTTLS command first" }
export const AUTH_REQUIRED: Reply = { code: 530, status: "5.7.0", text: "authentication required" }
export const AUTH_FAILED: Reply = { code: 535, status: "5.7.8", text: "authentication credentials invalid" }
export const AUTH_UNAVAILABLE: Reply = { code: 454, status: "4.7.0", text: "temporary authentication failure" }
export const TOO_MANY_GUESSES: Reply = {
  code: 454,
  status: "4.7.0",
  text: "too many wrong passwords from your network, try again later",
}
export const TOO_MANY_FAILURES: Reply = { code: 421, status: "4.7.0", text: "too many authentication failures" }
export const DEVICE_DOUBTED: Reply = { code: 421, status: "4.3.0", text: "log in again later" }
export const DEVICE_REVOKED: Reply = { code: 421, status: "4.7.0", text: "this device is revoked" }
export const TOO_MANY_CONNECTIONS: Reply = {
  code: 421,
  status: "4.7.0",
  text: "too many connections from your network, try again later",
}
export const TOO_MANY_MESSAGES: Reply = {
  code: 450,
  status: "4.7.1",
  text: "too many messages from your network, try again later",
}
export const TOO_MANY_GUESSED: Reply = {
  code: 450,
  status: "4.7.1",
  text: "too many recipients from your network that are nobody here, try again later",
}
/** RFC 6647 §5 */
export const GREYLISTED: Reply = { code: 450, status: "4.7.1", text: "not known yet, try again in a few minutes" }
export const TOO_MANY_RECIPIENTS: Reply = {
  code: 450,
  status: "4.7.1",
  text: "this account has written to too many recipients within an hour, try again later",
}
export const SHUTTING_DOWN: Reply = { code: 421, status: "4.3.2", text: "service is closing" }
export const TOO_SLOW: Reply = { code: 421, status: "4.4.2", text: "timeout, closing connection" }
export const NOT_IMPLEMENTED: Reply = { code: 502, status: "5.5.1", text: "command not implemented" }
export const LINE_TOO_LONG: Reply = { code: 500, status: "5.5.2", text: "command line too long" }
