/** PURE */
import type { CmsRecipient } from "../../crypto/cms/recipient.ts"
import { secondEnvelope } from "../../crypto/cms/second-envelope.ts"
import { readFields } from "../../crypto/dare/fields.ts"
import { contentKeys } from "../../crypto/dare/key-schedule.ts"
import {
  deriveEnvelopeSecrets,
  type EnvelopeSecrets,
  type SealedEnvelope,
  sealEnvelope,
} from "../../crypto/dare/seal.ts"
import type { Signer } from "../../crypto/dare/signature.ts"
import { isMontgomery } from "../../crypto/mesh-keys/key.ts"
import { hkdfSha256 } from "../../crypto/primitives/hash.ts"
import { p256ScalarFromSeed } from "../../crypto/primitives/p256.ts"
import { contentIdentifier, encryptionKeyUdf } from "../../crypto/udf/symmetric.ts"
import { binaryUdf, parseUdf, presentUdf, UDF_TYPE } from "../../crypto/udf/udf.ts"
import { GatewayError } from "../../errors.ts"
import { envelopeIdOf } from "../message-id.ts"
import type { Profile, ProfileUser } from "../profile.ts"
import { signObject } from "../signed.ts"
import { authoredBy } from "./author.ts"
import { mailBinding } from "./binding.ts"
import { recipientsDigest } from "./body.ts"
import { MAX_MESSAGE_OCTETS, type MailBody, type MailStatement, statementMembers } from "./statement.ts"

/** One mail to one recipient. */
export interface OutgoingMail {
  readonly sender: ProfileUser
  /** Signs with the key that the connection names. */
  readonly device: { readonly signer: Signer; readonly connection: Uint8Array }
  /** `domain`: where it publishes what is longer than a message. */
  readonly service: { readonly profile: Profile; readonly signer: Signer; readonly domain: string }
  /** `certificate`: the account's, on P-256; null when the recipient does not read with S/MIME. */
  readonly recipient: { readonly profile: ProfileUser; readonly certificate: CmsRecipient | null }
  readonly date: Date
  /** Fields that stand outside, see `shownFields`; null: nothing but what is stated. */
  readonly shown: Uint8Array | null
  /** 32 random octets for this entity and no other. The same mail with the same seed gives the same octets again. */
  readonly seed: Uint8Array
}

/** Keeps an envelope under this name until it is fetched; reads all of it. */
export type PublishMail = (name: string, envelope: AsyncIterable<Uint8Array>) => Promise<void>

/**
 * Encrypts a mail (RFC 5322, all fields in it) and makes the message that states and carries it, or names it where it would be longer than a message may be.
 * @returns the message, signed by the sender's device and by the service
 * @throws GatewayError MESH_OBJECT_INVALID when the mail is not the sender's, HEADER_TOO_LARGE; MESH_KEY_UNSUPPORTED, POINT_INVALID, CERTIFICATE_UNSUPPORTED for
 * keys of the recipient that cannot be encrypted to
 */
export async function sealMail(
  entity: AsyncIterable<Uint8Array>,
  mail: OutgoingMail,
  publish: PublishMail,
): Promise<Uint8Array> {
  const secrets = secretsOf(mail)
  const options = { encryption: { recipients: [recipientOf(mail)], secrets: secrets.envelope } }
  const envelope = sealEnvelope(authoredBy(mail.sender.address, entity), options, "json-b")
  const { held, sealed } = await held32KiB(envelope)
  if (sealed) {
    const message = messageOf(mail, secrets, sealed, {
      kind: "enclosed",
      envelope: new Uint8Array(Buffer.concat(held)),
    })
    if (message.length <= MAX_MESSAGE_OCTETS) return message
  }
  const key = encryptionKeyUdf(secrets.locator)
  let facts: SealedEnvelope | null = sealed
  const all = async function* (): AsyncGenerator<Uint8Array> {
    yield* held.splice(0)
    facts ??= yield* envelope
  }
  await publish(contentIdentifier(key), all())
  if (facts === null || held.length > 0) throw new GatewayError("LENGTH_MISMATCH", "mail: has not been published whole")
  const locator = { kind: "locator", domain: mail.service.domain, udf: parseUdf(key) } as const
  return messageOf(mail, secrets, facts, { kind: "published", locator })
}

/** The beginning of the envelope, up to a message's length; and what is said of it when that is all. */
async function held32KiB(envelope: AsyncGenerator<Uint8Array, SealedEnvelope>) {
  const held: Uint8Array[] = []
  for (let size = 0; size <= MAX_MESSAGE_OCTETS; size += held.at(-1)?.length ?? 0) {
    const next = await envelope.next()
    if (next.done) return { held, sealed: next.value }
    held.push(next.value)
  }
  return { held, sealed: null }
}

interface MailSecrets {
  readonly envelope: EnvelopeSecrets
  readonly ephemeral: Uint8Array
  readonly nonce: Uint8Array
  readonly locator: Uint8Array
}

/** Each recipient has keys of his own, so that one seed may serve a mail to several. */
function secretsOf({ seed, recipient }: OutgoingMail): MailSecrets {
  const context = `mesh-mail ${recipient.profile.udf}`
  const derive = (label: string, octets: number) =>
    hkdfSha256(seed, NO_SALT, `postern/mesh-mail/1 ${label} ${context}`, octets)
  return {
    envelope: deriveEnvelopeSecrets(seed, context),
    ephemeral: p256ScalarFromSeed(derive("p256", 48)),
    nonce: derive("message id", 16),
    locator: derive("locator", 32),
  }
}

function recipientOf({ recipient }: OutgoingMail) {
  const { udf: kid, key } = recipient.profile.keys.encryption
  const { curve, octets } = key
  if (!isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh: ${curve} is not encrypted to`)
  return { kind: "agreement", kid, key: { curve, octets } } as const
}

function messageOf(mail: OutgoingMail, secrets: MailSecrets, sealed: SealedEnvelope, body: MailBody): Uint8Array {
  const { sender, device, service, recipient, date } = mail
  const { baseSeed, salt } = secrets.envelope
  const { key, iv } = contentKeys({ octets: baseSeed, labelPrefix: "" }, salt)
  const { payloadDigest, payloadOctets } = sealed
  const fields = {
    messageId: presentUdf(binaryUdf(UDF_TYPE.nonce, secrets.nonce)),
    sender: sender.address,
    recipient: recipient.profile.address,
    senderUdf: sender.udf,
    recipientUdf: recipient.profile.udf,
    serviceUdf: service.profile.udf,
    date,
    salt,
    payloadDigest,
    payloadOctets,
    recipientsDigest: recipientsDigest(readFields(sealed.header)),
  }
  const { certificate } = recipient
  const cmsSecrets = { contentKey: key, iv, ephemeral: secrets.ephemeral }
  const statement: MailStatement = {
    ...fields,
    binding: mailBinding(key, fields),
    cms: certificate === null ? null : secondEnvelope(certificate, cmsSecrets, payloadDigest),
    shown: mail.shown,
    body,
    connection: device.connection,
  }
  return signMail(statement, [device.signer, service.signer])
}

/** Signs a statement: the sender's device and the service, both the same octets. */
export function signMail(statement: MailStatement, signers: readonly Signer[]): Uint8Array {
  const { messageId, date } = statement
  const labels = { envelopeId: envelopeIdOf(messageId), uniqueId: messageId, created: date }
  return signObject("MessageMail", statementMembers(statement), signers, labels, "json-b")
}

const NO_SALT = new Uint8Array(0)
