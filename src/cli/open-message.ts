import { readCertificate } from "../crypto/cms/certificate.ts"
import { openEnveloped } from "../crypto/cms/open.ts"
import type { OpeningKey } from "../crypto/cms/recipient-infos.ts"
import { type OpenPgpOpeningKey, openOpenPgp } from "../crypto/openpgp/open.ts"
import { readTransferable } from "../crypto/openpgp/transferable.ts"
import { GatewayError } from "../errors.ts"
import type { Person } from "../identity/person.ts"
import { Base64LineEncoder } from "../mime/base64-lines.ts"
import { MARKER_FIELD } from "../mime/compose.ts"
import { fieldText, headerEnd, parseFields } from "../mime/header.ts"
import { type Entity, StructureParser } from "../mime/structure.ts"
import { type Ciphertext, ciphertextIn } from "./ciphertext.ts"

/** All that a person can open mail with. */
export interface OpeningKeys {
  readonly smime: readonly OpeningKey[]
  readonly openpgp: readonly OpenPgpOpeningKey[]
}

/** A stored message as its owner reads it. */
export interface ReadableMessage {
  /** With everything that could be opened in place of what it was encrypted in. */
  readonly octets: Uint8Array
  /** How many encrypted blocks were opened. */
  readonly opened: number
  /** Why blocks stay closed; empty: the message is readable as a whole. */
  readonly failures: readonly string[]
}

/** Encryption within encryption goes as deep as this; deeper is an attack. */
const MAX_LAYERS = 8

/** The account's keys, old ones too, and those of devices: senders encrypt to a device's certificate when they find it in signed mail. */
export function openingKeysOf(person: Person): OpeningKeys {
  const devices = person.devices.flatMap(({ decryption }) => (decryption === null ? [] : [decryption]))
  return {
    smime: [...person.smime, ...devices].map(({ certificate, scalar }) => ({
      identity: readCertificate(certificate).identity,
      scalar,
    })),
    openpgp: person.openpgp === null ? [] : openPgpKeys(person.openpgp),
  }
}

function openPgpKeys({ certificate, keys }: NonNullable<Person["openpgp"]>): OpenPgpOpeningKey[] {
  return readTransferable(certificate).subkeys.flatMap(({ key: { keyId, fingerprint, material } }) => {
    const own = keys.find(({ id }) => id === Buffer.from(keyId).toString("hex"))
    if (own === undefined || material.kind !== "curve25519") return []
    const { point, kdfHash, kdfCipher } = material
    return [{ encryption: { keyId, fingerprint, point, kdfHash, kdfCipher }, scalar: own.scalar }]
  })
}

/** Opens every encrypted part of a message; what cannot be opened stays as it is. */
export async function openMessage(octets: Uint8Array, keys: OpeningKeys): Promise<ReadableMessage> {
  const opening = new Opening(keys)
  return { octets: await opening.message(octets, 0), opened: opening.opened, failures: opening.failures }
}

/** The opening of one message. */
class Opening {
  opened = 0
  readonly failures: string[] = []
  readonly #keys: OpeningKeys

  constructor(keys: OpeningKeys) {
    this.#keys = keys
  }

  async message(octets: Uint8Array, layer: number): Promise<Uint8Array> {
    const parser = new StructureParser()
    parser.push(octets)
    return this.#entity(octets, parser.end(), layer)
  }

  async #entity(octets: Uint8Array, entity: Entity, layer: number): Promise<Uint8Array> {
    const { content } = entity
    if (content.kind === "message") return this.#withParts(octets, entity, [content.message], layer)
    // RFC 3156 §4: control part and ciphertext are one thing.
    const encrypted =
      content.kind === "multipart" && entity.header.subtype === "encrypted" ? content.parts.at(-1) : null
    if (content.kind === "multipart" && !encrypted) return this.#withParts(octets, entity, content.parts, layer)
    const { bodyStart, bodyEnd, header } = encrypted ?? entity
    const opened = await this.#body(octets.subarray(bodyStart, bodyEnd), header.encoding)
    if (opened === null) return octets.subarray(entity.headerStart, entity.bodyEnd)
    const outside = octets.subarray(entity.headerStart, entity.bodyStart)
    // Inline OpenPGP encrypts a text or a file without MIME of its own, inside the header that is there.
    if (!encrypted && opened.kind === "openpgp" && (header.type === "text" || !beginsWithMime(opened.octets)))
      return reencoded(outside, Buffer.concat([opened.before, opened.octets, opened.behind]), header.type === "text")
    const inside = layer < MAX_LAYERS ? await this.message(opened.octets, layer + 1) : opened.octets
    return withOuterFields(outside, inside)
  }

  async #withParts(octets: Uint8Array, entity: Entity, parts: readonly Entity[], layer: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = []
    let at = entity.headerStart
    for (const part of parts) {
      pieces.push(octets.subarray(at, part.headerStart), await this.#entity(octets, part, layer))
      at = part.bodyEnd
    }
    return Buffer.concat([...pieces, octets.subarray(at, entity.bodyEnd)])
  }

  /** What is in the encrypted block of a body. @returns null when there is none, or it cannot be opened */
  async #body(body: Uint8Array, encoding: string): Promise<Ciphertext | null> {
    try {
      const ciphertext = ciphertextIn(body, encoding)
      if (ciphertext === null) return null
      const octets = await this.#decrypted(ciphertext)
      if (octets === null) throw new GatewayError("DECRYPTION_FAILED", "encrypted to no key of this keyring")
      this.opened += 1
      return { ...ciphertext, octets }
    } catch (error) {
      // Whatever it is: one message that cannot be opened must not keep the others from being written.
      this.failures.push(error instanceof Error ? error.message : String(error))
      return null
    }
  }

  /** @returns null when it is for none of the keys */
  async #decrypted(ciphertext: Ciphertext): Promise<Uint8Array | null> {
    if (ciphertext.kind === "cms")
      return firstOpened(this.#keys.smime, async (key) => openEnveloped(ciphertext.octets, key))
    return firstOpened(this.#keys.openpgp, (key) => openOpenPgp(ciphertext.octets, key))
  }
}

async function firstOpened<K>(
  keys: readonly K[],
  open: (key: K) => Promise<Uint8Array | null>,
): Promise<Uint8Array | null> {
  for (const key of keys) {
    const octets = await open(key)
    if (octets !== null) return octets
  }
  return null
}

/**
 * What was inside, with the fields on top that stand only outside: those of the transport, and for what others encrypted all but
 * MIME's. Where a field stands on both sides the inner one is the author's (RFC 9788 §4).
 */
function withOuterFields(outside: Uint8Array, inside: Uint8Array): Uint8Array {
  const outer = parseFields(outside)
  // Then it is a whole message that is inside, whatever it looks like.
  const isOurs = outer.some((field) => field.name === MARKER_FIELD && fieldText(field).startsWith("by this gateway"))
  const inner =
    isOurs || beginsWithField(inside) ? parseFields(inside.subarray(0, headerEnd(inside) ?? inside.length)) : []
  const names = new Set(inner.map(({ name }) => name))
  const texts = new Set(inner.map(({ octets }) => Buffer.from(octets).toString("latin1")))
  // It belongs to the Content-Type: without one inside, it was the encryption's.
  if (isOurs || !names.has("content-type")) names.add("mime-version")
  const kept = outer.filter(({ name, octets }) => {
    if (name === "" || ENCRYPTIONS_OWN.test(name)) return false
    return TRACE.test(name) ? !texts.has(Buffer.from(octets).toString("latin1")) : !names.has(name)
  })
  // Without a header of its own, what was inside needs the empty line.
  const separator = isOurs || inner.length > 0 || inside[0] === CR || inside[0] === LF ? [] : [EMPTY_LINE]
  return Buffer.concat([...kept.map(({ octets }) => octets), ...separator, inside])
}

/** A part whose content is no longer what its Content-Transfer-Encoding says: text as it is, everything else in base64. */
function reencoded(outside: Uint8Array, content: Uint8Array, isText: boolean): Uint8Array {
  const kept = parseFields(outside).filter(({ name }) => name !== "content-transfer-encoding" && name !== "")
  const field = Buffer.from(`Content-Transfer-Encoding: ${isText ? "8bit" : "base64"}\r\n\r\n`)
  const body = isText ? content : new Base64LineEncoder().end(content)
  return Buffer.concat([...kept.map(({ octets }) => octets), field, body])
}

function beginsWithField(octets: Uint8Array): boolean {
  const line = Buffer.from(octets.subarray(0, MAX_FIELD_NAME)).toString("latin1")
  return /^[\x21-\x39\x3b-\x7e]+[ \t]*:/.test(line) && headerEnd(octets) !== null
}

function beginsWithMime(octets: Uint8Array): boolean {
  return /^(?:content-[a-z-]+|mime-version)[ \t]*:/i.test(
    Buffer.from(octets.subarray(0, MAX_FIELD_NAME)).toString("latin1"),
  )
}

/** Fields that say how the message is encrypted, or sign it as it was. */
const ENCRYPTIONS_OWN = /^(?:content-.*|postern-encrypted|postern-replaces|dkim-signature)$/
/** RFC 5321 §4.4: added on the way, also outside the encryption. */
const TRACE = /^(?:return-path|received)$/
const MAX_FIELD_NAME = 200
const EMPTY_LINE = Buffer.from("\r\n")
const CR = 13
const LF = 10
