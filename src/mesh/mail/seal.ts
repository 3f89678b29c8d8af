/** PURE */
import { deriveEnvelopeSecrets, type EncryptContent, type SealedEnvelope } from "../../crypto/dare/seal.ts"
import type { Signer } from "../../crypto/dare/signature.ts"
import { deriveOpenPgpSecrets } from "../../crypto/openpgp/encrypt.ts"
import { hkdfKey, hkdfSha256 } from "../../crypto/primitives/hash.ts"
import { joined } from "../../crypto/primitives/joined.ts"
import { p256ScalarFromSeed } from "../../crypto/primitives/p256.ts"
import { contentIdentifier, encryptionKeyUdf } from "../../crypto/udf/symmetric.ts"
import { binaryUdf, parseUdf, presentUdf, UDF_TYPE } from "../../crypto/udf/udf.ts"
import { GatewayError } from "../../errors.ts"
import { envelopeIdOf } from "../message-id.ts"
import type { Profile, ProfileUser } from "../profile.ts"
import { signObject } from "../signed.ts"
import { mailBinding } from "./binding.ts"
import {
  type MailEntity,
  type MailRecipient,
  type MailSecrets,
  type Sealing,
  type StatedEnvelope,
  sealingTo,
} from "./sealing.ts"
import { MAX_MESSAGE_OCTETS, type MailBody, type MailStatement, statementMembers } from "./statement.ts"

/** One mail to one recipient. */
export interface OutgoingMail {
  readonly sender: ProfileUser
  /** Signs with the key that the connection names. */
  readonly device: { readonly signer: Signer; readonly connection: Uint8Array }
  /** `domain`: where it publishes what is longer than a message. */
  readonly service: { readonly profile: Profile; readonly signer: Signer; readonly domain: string }
  readonly recipient: MailRecipient
  readonly date: Date
  /** Fields that stand outside, see `shownFields`; null: nothing but what is stated. */
  readonly shown: Uint8Array | null
  /** 32 random octets for this entity and no other. The same mail with the same seed gives the same octets again. */
  readonly seed: Uint8Array
}

/** Keeps an envelope under this name until it is fetched; reads all of it. A piece is good until the next is asked for. */
export type PublishMail = (name: string, envelope: AsyncIterable<Uint8Array>) => Promise<void>

/**
 * Encrypts a mail (RFC 5322, all fields in it) and makes the message that states and carries it, or names it where it would be longer than a message may be.
 * @returns the message, signed by the sender's device and by the service
 * @throws GatewayError MESH_OBJECT_INVALID when the mail is not the sender's, HEADER_TOO_LARGE; MESH_KEY_UNSUPPORTED, POINT_INVALID, CERTIFICATE_UNSUPPORTED for
 * keys of the recipient that cannot be encrypted to
 */
export async function sealMail(
  entity: MailEntity,
  mail: OutgoingMail,
  publish: PublishMail,
  encrypt: EncryptContent | null = null,
): Promise<Uint8Array> {
  const secrets = secretsOf(mail)
  const sealing = await sealingTo(mail.recipient, mail.sender.address, entity, secrets, encrypt)
  // Whoever encrypts hears of it when nobody takes the rest.
  await using envelope = sealing.envelope
  const { held, sealed } = await held32KiB(envelope)
  if (sealed) {
    const message = messageOf(mail, secrets, sealing.stated(sealed), {
      kind: "enclosed",
      envelope: joined(held),
    })
    if (message.length <= MAX_MESSAGE_OCTETS) return message
  }
  const key = encryptionKeyUdf(secrets.locator())
  let facts: SealedEnvelope | null = sealed
  const all = async function* (): AsyncGenerator<Uint8Array> {
    yield* held.splice(0)
    facts ??= yield* envelope
  }
  await publish(contentIdentifier(key), all())
  if (facts === null || held.length > 0) throw new GatewayError("LENGTH_MISMATCH", "mail: has not been published whole")
  const locator = { kind: "locator", domain: mail.service.domain, udf: parseUdf(key) } as const
  return messageOf(mail, secrets, sealing.stated(facts), { kind: "published", locator })
}

/** The beginning of the envelope, up to a message's length; and what is said of it when that is all. */
async function held32KiB(envelope: Sealing["envelope"]) {
  const held: Uint8Array[] = []
  for (let size = 0; size <= MAX_MESSAGE_OCTETS; size += held.at(-1)?.length ?? 0) {
    const next = await envelope.next()
    if (next.done) return { held, sealed: next.value }
    held.push(next.value)
  }
  return { held, sealed: null }
}

interface AllSecrets extends MailSecrets {
  readonly nonce: Uint8Array
  /** For what is too long for a message. */
  locator(): Uint8Array
}

/** Each recipient has keys of his own, so that one seed may serve a mail to several. */
function secretsOf({ seed, recipient }: OutgoingMail): AllSecrets {
  const context = `mesh-mail ${recipient.profile.udf}`
  const key = hkdfKey(seed)
  const derive = (label: string, octets: number) =>
    hkdfSha256(key, NO_SALT, `postern/mesh-mail/1 ${label} ${context}`, octets)
  return {
    envelope: deriveEnvelopeSecrets(key, context),
    ephemeral: p256ScalarFromSeed(derive("p256", 48)),
    openPgp: () => deriveOpenPgpSecrets(seed, context),
    nonce: derive("message id", 16),
    locator: () => derive("locator", 32),
  }
}

function messageOf(
  { sender, device, service, recipient, date, shown }: OutgoingMail,
  { envelope, nonce }: AllSecrets,
  { contentKey, ...stated }: StatedEnvelope,
  body: MailBody,
): Uint8Array {
  const fields = {
    ...stated,
    messageId: presentUdf(binaryUdf(UDF_TYPE.nonce, nonce)),
    sender: sender.address,
    recipient: recipient.profile.address,
    senderUdf: sender.udf,
    recipientUdf: recipient.profile.udf,
    serviceUdf: service.profile.udf,
    date,
    salt: envelope.salt,
  }
  const { connection, signer } = device
  const binding = mailBinding(contentKey, fields)
  return signMail({ ...fields, binding, shown, body, connection }, [signer, service.signer])
}

/** Signs a statement: the sender's device and the service, both the same octets. */
export function signMail(statement: MailStatement, signers: readonly Signer[]): Uint8Array {
  const { messageId, date } = statement
  const labels = { envelopeId: envelopeIdOf(messageId), uniqueId: messageId, created: date }
  return signObject("MessageMail", statementMembers(statement), signers, labels, "json-b")
}

const NO_SALT = new Uint8Array(0)
