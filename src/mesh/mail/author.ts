/** PURE */
import { addressKey, parseAddress } from "../../message/address.ts"
import { parseDateTime } from "../../message/date.ts"
import { parseMailboxList } from "../../message/mailboxes.ts"
import { type Field, fieldText, parseFields, readHeader } from "../../mime/header.ts"
import { invalid } from "../object.ts"

/** Of the header section of a mail that is sent over the Mesh: it is looked at before anything is given out. */
export const MAX_MAIL_HEADER_OCTETS = 65_536

/**
 * The entity, octet for octet, once its header section names `author` alone as its author, and has one Date and one Message-ID: all of them are in the
 * ciphertext, and who shows the mail shows these.
 * @throws GatewayError MESH_OBJECT_INVALID; HEADER_TOO_LARGE
 */
export async function* authoredBy(author: string, entity: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = entity[Symbol.asyncIterator]()
  try {
    const { header, rest } = await readHeader(source, MAX_MAIL_HEADER_OCTETS)
    checkHeader(author, parseFields(header))
    yield header
    if (rest.length > 0) yield rest
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
  } finally {
    await source.return?.()
  }
}

function checkHeader(author: string, fields: readonly Field[]): void {
  const [first, ...others] = parseMailboxList(only(fields, "from"))
  if (first === undefined || others.length > 0 || addressKey(first) !== addressKey(parseAddress(author)))
    throw invalid("mail has another author than its sender")
  if (parseDateTime(only(fields, "date")) === null) throw invalid("mail has no date")
  only(fields, "message-id")
  if (fields.some(({ name }) => name === "sender")) throw invalid("mail was sent by somebody else than its author")
}

function only(fields: readonly Field[], name: string): string {
  const [field, ...more] = fields.filter((candidate) => candidate.name === name)
  if (field === undefined || more.length > 0) throw invalid(`mail has not one field ${name}`)
  return fieldText(field)
}
