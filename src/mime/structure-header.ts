import { type MailboxName, parseAddressList } from "./addresses.ts"
import type { Field } from "./header.ts"

/** `name=value` of Content-Type or Content-Disposition; latin1, one character per octet, unquoted. */
export type Parameter = readonly [name: string, value: string]

/** What the MIME fields of a part say (RFC 2045, RFC 2183, RFC 3282, RFC 2557). Texts are latin1, one character per octet. */
export interface EntityHeader {
  /** Lower case. */
  readonly type: string
  /** Lower case. */
  readonly subtype: string
  readonly parameters: readonly Parameter[]
  readonly encoding: string
  readonly id: string | null
  readonly description: string | null
  readonly md5: string | null
  readonly disposition: { readonly type: string; readonly parameters: readonly Parameter[] } | null
  readonly languages: readonly string[]
  readonly location: string | null
}

/** ENVELOPE of RFC 3501 §7.4.2: undecoded texts, latin1, one character per octet; null when the field is not there. */
export interface Envelope {
  readonly date: string | null
  readonly subject: string | null
  readonly from: readonly MailboxName[]
  readonly sender: readonly MailboxName[]
  readonly replyTo: readonly MailboxName[]
  readonly to: readonly MailboxName[]
  readonly cc: readonly MailboxName[]
  readonly bcc: readonly MailboxName[]
  readonly inReplyTo: string | null
  readonly messageId: string | null
}

/** Real parts have below 10; more are not told. */
export const MAX_PARAMETERS = 100

/** Reads the MIME fields; what is missing or malformed has the default of RFC 2045 §5.2 or is absent. */
export function parseEntityHeader(
  fields: readonly Field[],
  defaultType: "text/plain" | "message/rfc822",
): EntityHeader {
  const media = parseMediaType(textOfField(fields, "content-type"), defaultType)
  const encoding = firstToken(textOfField(fields, "content-transfer-encoding"))
  const disposition = parseValue(textOfField(fields, "content-disposition"))
  const languages = textOfField(fields, "content-language")
  return {
    ...media,
    encoding: encoding === "" ? "7bit" : encoding,
    id: textOfField(fields, "content-id"),
    description: textOfField(fields, "content-description"),
    md5: textOfField(fields, "content-md5"),
    disposition: disposition === null ? null : { type: disposition.value, parameters: disposition.parameters },
    languages: (languages ?? "")
      .split(/[\s,]+/)
      .filter((language) => language !== "")
      .slice(0, MAX_PARAMETERS),
    location: textOfField(fields, "content-location"),
  }
}

/** Reads the fields of ENVELOPE. RFC 3501 §7.4.2: missing Sender and Reply-To are the From. */
export function parseEnvelope(fields: readonly Field[]): Envelope {
  const mailboxes = (name: string): readonly MailboxName[] => parseAddressList(textOfField(fields, name) ?? "")
  const from = mailboxes("from")
  const orFrom = (list: readonly MailboxName[]): readonly MailboxName[] => (list.length > 0 ? list : from)
  return {
    date: textOfField(fields, "date"),
    subject: textOfField(fields, "subject"),
    from,
    sender: orFrom(mailboxes("sender")),
    replyTo: orFrom(mailboxes("reply-to")),
    to: mailboxes("to"),
    cc: mailboxes("cc"),
    bcc: mailboxes("bcc"),
    inReplyTo: textOfField(fields, "in-reply-to"),
    messageId: textOfField(fields, "message-id"),
  }
}

/** The value of a Content-Type parameter, or "". */
export function parameter(header: EntityHeader, name: string): string {
  return header.parameters.find(([candidate]) => candidate.toLowerCase() === name)?.[1] ?? ""
}

/** The unfolded text of the first field called `name` (lower case) as latin1, one character per octet; null: not there. */
export function textOfField(fields: readonly Field[], name: string): string | null {
  const field = fields.find((candidate) => candidate.name === name)
  if (field === undefined) return null
  const text = Buffer.from(field.octets.buffer, field.octets.byteOffset, field.octets.length).toString("latin1")
  return text
    .slice(text.indexOf(":") + 1)
    .replaceAll(/[\r\n\0]/g, "")
    .replaceAll(/^[ \t]+|(?<![ \t])[ \t]+$/g, "")
}

function parseMediaType(
  text: string | null,
  defaultType: "text/plain" | "message/rfc822",
): Pick<EntityHeader, "type" | "subtype" | "parameters"> {
  const found = parseValue(text)
  const [type = "", subtype = "", ...more] = (found?.value ?? "").toLowerCase().split("/")
  if (found !== null && type !== "" && subtype !== "" && more.length === 0) {
    const charset = type === "text" && !found.parameters.some(([name]) => name.toLowerCase() === "charset")
    return { type, subtype, parameters: charset ? [...found.parameters, US_ASCII] : found.parameters }
  }
  return defaultType === "message/rfc822"
    ? { type: "message", subtype: "rfc822", parameters: [] }
    : { type: "text", subtype: "plain", parameters: [US_ASCII] }
}

// RFC 2045 §5.1: value *(";" attribute "=" (token / quoted-string)), comments anywhere.
function parseValue(text: string | null): { readonly value: string; readonly parameters: readonly Parameter[] } | null {
  if (text === null) return null
  const pieces = splitParameters(text)
  const value = firstToken(pieces[0] ?? "")
  if (value === "") return null
  const parameters: Parameter[] = []
  for (const piece of pieces.slice(1, MAX_PARAMETERS + 1)) {
    const equals = piece.indexOf("=")
    const name = piece.slice(0, Math.max(0, equals)).trim()
    if (name !== "" && !name.includes('"')) parameters.push([name, unquoted(piece.slice(equals + 1).trim())])
  }
  return { value, parameters }
}

/** Cuts at semicolons outside quoted strings; comments are left out. */
function splitParameters(text: string): string[] {
  const pieces: string[] = [""]
  let depth = 0
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"?|\\.|[();]|[^"\\();]+|\\/gs)) {
    if (token === "(") depth += 1
    else if (token === ")") depth = Math.max(0, depth - 1)
    else if (depth > 0) continue
    else if (token === ";") pieces.push("")
    else pieces[pieces.length - 1] += token
  }
  return pieces
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text.split(/[ \t]/)[0] ?? ""
  const inside = /^"((?:[^"\\]|\\.)*)/s.exec(text)?.[1] ?? ""
  return inside.replaceAll(/\\(.)/gs, "$1")
}

function firstToken(text: string | null): string {
  return /^[^\s;()",]+/.exec((text ?? "").trim())?.[0] ?? ""
}

const US_ASCII: Parameter = ["charset", "us-ascii"]
