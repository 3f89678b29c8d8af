import { readCertificate } from "../../crypto/openpgp/certificate.ts"
import { sha256 } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import { type Address, addressKey } from "../../message/address.ts"
import { parseDateTime } from "../../message/date.ts"
import { firstField } from "../../mime/header.ts"
import type { Entity } from "../../mime/structure.ts"
import { readAutocrypt, updatedPeer } from "../../profiles/autocrypt.ts"
import { readOpenPgpAnswer } from "../../profiles/sources/openpgp-answer.ts"
import { namesAddress } from "../../profiles/usable/addresses.ts"
import { mailAddress } from "../../profiles/usable/openpgp.ts"
import { type Arrived, bodyOf } from "./arrived.ts"
import type { Harvest, Peers } from "./ports.ts"
import type { SmimeSigner } from "./smime.ts"

/** An attached certificate may be this long, in armor. */
export const MAX_ATTACHED_OCTETS = 262_144
/** Certificates are attached one by one; who attaches those of a whole team is no author of them. */
export const MAX_ATTACHED = 4

/**
 * Remembers what Autocrypt fields of an authenticated message say, or that its author writes without them (Level 1 §2.3). Reports do not count:
 * programs write them.
 */
export function learnAutocrypt({ fields, root }: Arrived, author: Address, receivedAt: Date, peers: Peers): void {
  if (isReport(root)) return
  const header = readAutocrypt(fields, author)
  const effective = effectiveDate(fields, receivedAt)
  peers.changePeer(addressKey(author), (known) => updatedPeer(known, header, effective))
}

/** Remembers the author's OpenPGP certificates that are attached to an authenticated message (application/pgp-keys, RFC 3156 §7). */
export async function harvestAttached(
  { message, fields, root }: Arrived,
  author: Address,
  receivedAt: Date,
  harvest: Harvest,
): Promise<void> {
  if (isReport(root)) return
  for (const entity of attachedKeys(root).slice(0, MAX_ATTACHED)) {
    const octets = await bodyOf(message, entity, MAX_ATTACHED_OCTETS)
    for (const certificate of octets === null ? [] : readOpenPgpAnswer(octets, addressKey(author)).certificates)
      if (names(certificate, author))
        harvest.harvest(addressKey(author), harvested("openpgp", certificate, effectiveDate(fields, receivedAt)))
  }
}

/** Remembers the certificate that the author of a verified S/MIME signature reads mail with. */
export function harvestSigner(
  { fields }: Arrived,
  author: Address,
  { certificate, chain, capabilities }: SmimeSigner,
  receivedAt: Date,
  harvest: Harvest,
): void {
  const key = harvested("smime", certificate, effectiveDate(fields, receivedAt))
  const more = { chain: Buffer.concat(chain), capabilities: capabilities ?? new Uint8Array(0) }
  harvest.harvest(addressKey(author), { ...key, ...more })
}

function harvested(format: "smime" | "openpgp", certificate: Uint8Array, sentAt: Date) {
  const digest = Buffer.from(sha256(certificate)).toString("hex")
  return { format, digest, certificate, chain: new Uint8Array(0), capabilities: new Uint8Array(0), sentAt } as const
}

/** When the message was written, or received if it says later: what counts as newer. */
function effectiveDate(fields: Arrived["fields"], receivedAt: Date): Date {
  const written = parseDateTime(firstField(fields, "date") ?? "")
  return written === null || written.getTime() > receivedAt.getTime() ? receivedAt : written
}

function isReport({ header }: Entity): boolean {
  return header.type === "multipart" && header.subtype === "report"
}

/** Not those within another message: they are its author's. Depth is bounded by MAX_MIME_DEPTH. */
function attachedKeys(entity: Entity): Entity[] {
  const { header, content } = entity
  if (content.kind === "multipart") return content.parts.flatMap(attachedKeys)
  return content.kind === "leaf" && header.type === "application" && header.subtype === "pgp-keys" ? [entity] : []
}

function names(certificate: Uint8Array, author: Address): boolean {
  try {
    const { userIds } = readCertificate(certificate)
    return namesAddress(userIds.map(mailAddress), author, false)
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}
