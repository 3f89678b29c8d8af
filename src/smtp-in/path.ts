import { hasCode } from "../errors.ts"
import { type Address, formatAddress, parseAddress } from "../message/address.ts"

/** The argument of MAIL or RCPT, in the shape smtp-server's command handlers work with. */
export interface SmtpPath {
  /** null: the null reverse-path `<>`; `postmaster`: that word without a domain (RFC 5321 §4.1.1.3). */
  readonly path: Address | null | "postmaster"
  /** Only a key for smtp-server's recipient list: empty for `<>`, otherwise differs when the address differs in any octet. */
  readonly address: string
  /** Parameters, names in upper case, values decoded (xtext); `true`: without a value. False: none. */
  readonly args: Record<string, string | true> | false
  /** A parameter given twice. */
  readonly duplicate?: string
}

/**
 * Reads `MAIL FROM:<…> parameters` or `RCPT TO:<…> parameters`.
 * @returns null when it is malformed.
 */
export function parsePathCommand(verb: "MAIL FROM" | "RCPT TO", line: Uint8Array): SmtpPath | null {
  const text = decodeUtf8(line)
  const match = text === null ? null : COMMAND.exec(text)
  // C0 controls, NUL above all, stand in no part of a command (RFC 5321 §4.1.2).
  if (!match || /[\x00-\x1f\x7f]/.test(match[0])) return null
  const [, given = "", mailbox = "", rest = ""] = match
  if (given.toUpperCase().replace(/ +/, " ") !== verb) return null
  const path = parsePath(verb, mailbox)
  const parameters = path === undefined ? null : parseParameters(rest)
  return path === undefined || parameters === null ? null : { path, address: listKey(path), ...parameters }
}

/** True when smtp-server hands back what {@link parsePathCommand} made. */
export function isSmtpPath(value: unknown): value is SmtpPath {
  return typeof value === "object" && value !== null && "path" in value
}

// Path = "<" [ A-d-l ":" ] Mailbox ">"        RFC 5321 §4.1.2
// The blank after the colon is forbidden (§3.3) and sent by many; it is harmless.
const COMMAND = /^(MAIL +FROM|RCPT +TO): *<((?:"(?:[^"\\]|\\.)*"|[^"<>\\ ])*)>((?: .*)?)$/is
/** RFC 5321 appendix C: a source route is accepted and ignored. */
const SOURCE_ROUTE = /^@[^\s,:@"]+(?:,@[^\s,:@"]+)*:/

/** @returns undefined when it is no path. */
function parsePath(verb: string, mailbox: string): SmtpPath["path"] | undefined {
  if (mailbox === "") return verb === "MAIL FROM" ? null : undefined
  if (verb === "RCPT TO" && mailbox.toLowerCase() === "postmaster") return "postmaster"
  try {
    return parseAddress(mailbox.replace(SOURCE_ROUTE, ""))
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return undefined
    throw error
  }
}

// esmtp-param = esmtp-keyword ["=" esmtp-value]        RFC 5321 §4.1.2
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x7e\u0080-\u{10ffff}]+))?$/u

function parseParameters(rest: string): Pick<SmtpPath, "args" | "duplicate"> | null {
  const args: Record<string, string | true> = {}
  let duplicate: string | undefined
  const words = rest.split(" ").filter((word) => word !== "")
  for (const word of words) {
    const match = PARAMETER.exec(word)
    if (!match?.[1]) return null
    const name = match[1].toUpperCase()
    const value = match[2] === undefined ? true : decodeValue(name, match[2])
    if (value === null) return null
    if (Object.hasOwn(args, name)) duplicate = name
    args[name] = value
  }
  return { args: words.length === 0 ? false : args, ...(duplicate === undefined ? {} : { duplicate }) }
}

/** RFC 3461 §4.4: ENVID at most 100 characters; §4.2: ORCPT at most 500. */
const MAX_VALUE_CHARACTERS = 500

/** @returns null when the value can't be. */
function decodeValue(name: string, value: string): string | null {
  if (value.length > MAX_VALUE_CHARACTERS) return null
  // RFC 3461 §4: xtext. A `utf-8` ORCPT (RFC 6533 §3) has an encoding of its own and is kept as given.
  if ((name !== "ENVID" && name !== "ORCPT") || /^utf-8;/i.test(value)) return value
  if (/\+(?![0-9A-F]{2})/.test(value)) return null
  const decoded = value.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  // What decodes to a line end would make header fields of its own in a report.
  return /^[\x20-\x7e]+$/.test(decoded) ? decoded : null
}

function listKey(path: SmtpPath["path"]): string {
  if (path === null) return ""
  // smtp-server compares without case; outside our domains only the octets say that two recipients are one.
  return Buffer.from(path === "postmaster" ? path : formatAddress(path)).toString("hex")
}

function decodeUtf8(octets: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets)
  } catch (error) {
    if (error instanceof TypeError) return null
    throw error
  }
}
