import type { MailboxName } from "./addresses.ts"
import type { Entity } from "./structure.ts"
import type { EntityHeader, Envelope, Parameter } from "./structure-header.ts"

/** ENVELOPE as RFC 3501 §7.4.2 writes it: latin1 text, one character per octet, possibly with literals. */
export function formatEnvelope(envelope: Envelope): string {
  const { date, subject, from, sender, replyTo, to, cc, bcc, inReplyTo, messageId } = envelope
  const lists = [from, sender, replyTo, to, cc, bcc].map(formatAddresses)
  return `(${nstring(date)} ${nstring(subject)} ${lists.join(" ")} ${nstring(inReplyTo)} ${nstring(messageId)})`
}

/**
 * BODYSTRUCTURE, or BODY when not `extended` (RFC 3501 §7.4.2); latin1 text, one character per octet, possibly with literals.
 * Recursion is bounded by MAX_MIME_DEPTH.
 */
export function formatBodyStructure(entity: Entity, extended: boolean): string {
  const { content, header } = entity
  if (content.kind !== "multipart") return formatSinglePart(entity, extended)
  // body-type-mpart = 1*body: one with no part at all is given an empty one.
  const parts =
    content.parts.length === 0
      ? emptyPart(extended)
      : content.parts.map((part) => formatBodyStructure(part, extended)).join("")
  const more = extended ? ` ${formatParameters(header.parameters)} ${formatExtension(header)}` : ""
  return `(${parts} ${string(header.subtype)}${more})`
}

/** `string` or NIL; a literal when it cannot stand in quotes. */
export function nstring(text: string | null): string {
  return text === null ? "NIL" : string(text)
}

/** Quoted when it may be: 7-bit, no line end (RFC 3501 §9 QUOTED-CHAR). */
export function string(text: string): string {
  if (/^[\x01-\x09\x0b\x0c\x0e-\x7f]*$/.test(text)) return `"${text.replaceAll(/["\\]/g, "\\$&")}"`
  return `{${text.length}}\r\n${text}`
}

function formatSinglePart(entity: Entity, extended: boolean): string {
  const { header, content } = entity
  // A multipart we did not look into must not look like one without parts.
  const [type, subtype] = header.type === "multipart" ? ["application", "octet-stream"] : [header.type, header.subtype]
  const basic = [
    string(type),
    string(subtype),
    formatParameters(header.parameters),
    nstring(header.id),
    nstring(header.description),
    string(header.encoding),
    `${entity.bodyEnd - entity.bodyStart}`,
  ]
  if (type === "text") basic.push(`${entity.lines}`)
  if (type === "message" && subtype === "rfc822")
    basic.push(...formatMessage(entity, content.kind === "message" ? content.message : null, extended))
  if (extended) basic.push(nstring(header.md5), formatExtension(header))
  return `(${basic.join(" ")})`
}

function formatMessage(entity: Entity, message: Entity | null, extended: boolean): string[] {
  const envelope = message?.envelope ? formatEnvelope(message.envelope) : EMPTY_ENVELOPE
  return [envelope, message ? formatBodyStructure(message, extended) : emptyPart(extended), `${entity.lines}`]
}

// body-ext: disposition, language, location
function formatExtension(header: EntityHeader): string {
  const { disposition, languages, location } = header
  const language =
    languages.length === 0
      ? "NIL"
      : languages.length === 1
        ? string(languages[0] ?? "")
        : `(${languages.map(string).join(" ")})`
  const shown =
    disposition === null ? "NIL" : `(${string(disposition.type)} ${formatParameters(disposition.parameters)})`
  return `${shown} ${language} ${nstring(location)}`
}

function formatParameters(parameters: readonly Parameter[]): string {
  if (parameters.length === 0) return "NIL"
  return `(${parameters.map(([name, value]) => `${string(name)} ${string(value)}`).join(" ")})`
}

function formatAddresses(addresses: readonly MailboxName[]): string {
  if (addresses.length === 0) return "NIL"
  return `(${addresses.map(formatAddress).join("")})`
}

function formatAddress({ name, route, mailbox, host }: MailboxName): string {
  return `(${nstring(name)} ${nstring(route)} ${nstring(mailbox)} ${nstring(host)})`
}

function emptyPart(extended: boolean): string {
  return `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0${extended ? " NIL NIL NIL NIL" : ""})`
}

const EMPTY_ENVELOPE = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
