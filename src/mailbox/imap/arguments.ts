import { GatewayError } from "../../errors.ts"
import { parseSequenceSet, type SequenceSet } from "../../imap-proxy/wire/sequence-set.ts"
import { type Token, textOf } from "../../imap-proxy/wire/tokens.ts"
import { mailboxName } from "../paths.ts"

/** A malformed command: answered BAD. */
export function bad(what: string): GatewayError {
  return new GatewayError("PROTOCOL", `imap: ${what}`)
}

/** The text of an astring argument as latin1. @throws PROTOCOL */
export function astring(token: Token | undefined): string {
  const text = textOf(token)
  if (text === null) throw bad("string expected")
  return text
}

/** An atom's text as sent. @throws PROTOCOL */
export function atom(token: Token | undefined): string {
  if (token?.kind !== "atom") throw bad("word expected")
  return token.text
}

/** A mailbox name that can exist here. @throws MAILBOX_NAME, PROTOCOL */
export function mailbox(token: Token | undefined): string {
  // A separator at the end says that there will be others below (RFC 3501 §6.3.3).
  const name = mailboxName(astring(token).replace(/\.$/, ""))
  if (name === null) throw new GatewayError("MAILBOX_NAME", "imap: no mailbox can have this name")
  return name
}

/** A sequence set argument. @throws PROTOCOL */
export function sequenceSet(token: Token | undefined): Exclude<SequenceSet, "$"> {
  const set = token?.kind === "atom" ? parseSequenceSet(token.text) : null
  if (set === null || set === "$") throw bad("sequence set expected")
  return set
}

/** The items of a list argument. @throws PROTOCOL */
export function list(token: Token | undefined): readonly Token[] {
  if (token?.kind !== "list") throw bad("list expected")
  return token.items
}

/** Flags and keywords of a list; `\Recent` is the server's alone. @throws PROTOCOL */
export function flags(tokens: readonly Token[]): string[] {
  return tokens
    .map((token) => {
      const flag = atom(token)
      if (!/^(?:\\[A-Za-z]+|[^\\*%\]\x00-\x20\x7f-\xff]{1,100})$/.test(flag)) throw bad("malformed flag")
      return flag
    })
    .filter((flag) => !/^\\recent$/i.test(flag))
}

/** There must be no more and no fewer arguments. @throws PROTOCOL */
export function count(tokens: readonly Token[], least: number, most = least): void {
  if (tokens.length < least || tokens.length > most) throw bad("wrong number of arguments")
}

// RFC 3501 §9: date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
/** INTERNALDATE as APPEND gives it. @throws PROTOCOL */
export function dateTime(text: string): Date {
  const found = /^([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/.exec(text)
  if (found === null) throw bad("malformed date-time")
  const [, day, month = "", year, hour, minute, second, sign, zoneHours, zoneMinutes] = found
  const local = Date.UTC(Number(year), monthNumber(month), Number(day), Number(hour), Number(minute), Number(second))
  const zoneMs = (Number(zoneHours) * 60 + Number(zoneMinutes)) * 60_000
  return new Date(sign === "-" ? local + zoneMs : local - zoneMs)
}

// date = date-day "-" date-month "-" date-year
/** A search date as the start of that day in UTC, in milliseconds. @throws PROTOCOL */
export function day(text: string): number {
  const found = /^(\d{1,2})-([A-Za-z]{3})-(\d{4})$/.exec(text)
  if (found === null) throw bad("malformed date")
  return Date.UTC(Number(found[3]), monthNumber(found[2] ?? ""), Number(found[1]))
}

/** `17-Jul-1996 02:44:25 +0000`, with a day of two characters. */
export function formatDateTime(milliseconds: number): string {
  const date = new Date(milliseconds)
  const two = (value: number): string => `${value}`.padStart(2, "0")
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`
  return `${two(date.getUTCDate())}-${MONTHS[date.getUTCMonth()]}-${`${date.getUTCFullYear()}`.padStart(4, "0")} ${time} +0000`
}

function monthNumber(name: string): number {
  const month = MONTHS.findIndex((candidate) => candidate.toLowerCase() === name.toLowerCase())
  if (month < 0) throw bad("no such month")
  return month
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
