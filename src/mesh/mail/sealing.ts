/** PURE. The two forms in which a mail is encrypted, and what its statement says of each. */
import type { CmsRecipient } from "../../crypto/cms/recipient.ts"
import { secondEnvelope } from "../../crypto/cms/second-envelope.ts"
import {
  type EncryptContent,
  type EnvelopeSecrets,
  type SealedEnvelope,
  sealEnvelope,
  sealEnvelopeBy,
} from "../../crypto/dare/seal.ts"
import { isMontgomery } from "../../crypto/mesh-keys/key.ts"
import type { OpenPgpEncryptionKey } from "../../crypto/openpgp/certificate.ts"
import { openPgpMessage } from "../../crypto/openpgp/encrypt.ts"
import { pkesk } from "../../crypto/openpgp/pkesk.ts"
import type { OpenPgpSecrets } from "../../crypto/openpgp/protected-body.ts"
import { sha512 } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import type { ProfileUser } from "../profile.ts"
import { authoredBy } from "./author.ts"
import { openPgpRecipientsDigest } from "./openpgp-body.ts"
import type { MailStatement } from "./statement.ts"

/** Who is written to, and what he reads stored mail with, where that is not the Mesh alone. */
export interface MailRecipient {
  readonly profile: ProfileUser
  /** On P-256; null when he does not read with S/MIME. */
  readonly certificate: CmsRecipient | null
  /** He reads with OpenPGP alone: what is sealed to him is an OpenPGP message to this key, and nothing else. */
  readonly openPgp?: OpenPgpEncryptionKey
}

/** What is to be sealed: a mail (RFC 5322), all fields in it. */
export interface MailEntity {
  readonly sizeOctets: number
  content(): AsyncIterable<Uint8Array>
}

/** Everything secret in one mail to one recipient. */
export interface MailSecrets {
  readonly envelope: EnvelopeSecrets
  /** Scalar of P-256, for the certificate. */
  readonly ephemeral: Uint8Array
  /** Derived where they are wanted: few recipients read OpenPGP. */
  openPgp(): OpenPgpSecrets
}

/** An envelope in the making, and what is to be stated of it once it is made. */
export interface Sealing {
  readonly envelope: AsyncGenerator<Uint8Array, SealedEnvelope>
  stated(sealed: SealedEnvelope): StatedEnvelope
}

export interface StatedEnvelope
  extends Pick<MailStatement, "payloadDigest" | "payloadOctets" | "recipientsDigest" | "cms" | "openPgp"> {
  /** What the statement's binding shows knowledge of. */
  readonly contentKey: Uint8Array
}

/**
 * Encrypts a mail in the form that its recipient reads. The same secrets give the same octets.
 * @param encrypt who encrypts it for the Mesh; null: it is done here
 * @throws GatewayError MESH_KEY_UNSUPPORTED, POINT_INVALID, CERTIFICATE_UNSUPPORTED; the envelope as `authoredBy`
 */
export async function sealingTo(
  recipient: MailRecipient,
  author: string,
  entity: MailEntity,
  secrets: MailSecrets,
  encrypt: EncryptContent | null,
): Promise<Sealing> {
  const { openPgp } = recipient
  const content = authoredBy(author, entity.content())
  return openPgp === undefined
    ? dareSealing(recipient, content, secrets, encrypt)
    : openPgpSealing(openPgp, content, entity.sizeOctets, secrets)
}

/** Encrypted to the account, and to its certificate where there is one: one ciphertext. */
function dareSealing(
  { profile, certificate }: MailRecipient,
  content: AsyncIterable<Uint8Array>,
  { envelope, ephemeral }: MailSecrets,
  encrypt: EncryptContent | null,
): Sealing {
  const options = { encryption: { recipients: [darePartyOf(profile)], secrets: envelope } }
  return {
    envelope: encrypt === null ? sealEnvelope(content, options, "json-b") : sealEnvelopeBy(encrypt, content, options),
    stated({ recipients, payloadDigest, payloadOctets, keys }) {
      if (keys === null) throw new RangeError("mail: is not encrypted")
      const { key: contentKey, iv } = keys
      return {
        payloadDigest,
        payloadOctets,
        recipientsDigest: sha512(recipients),
        cms: certificate === null ? null : secondEnvelope(certificate, { contentKey, iv, ephemeral }, payloadDigest),
        openPgp: null,
        contentKey,
      }
    },
  }
}

function darePartyOf({ keys }: ProfileUser) {
  const { udf: kid, key } = keys.encryption
  const { curve, octets } = key
  if (!isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh: ${curve} is not encrypted to`)
  return { kind: "agreement", kid, key: { curve, octets } } as const
}

/** An OpenPGP message, as {@link file://./openpgp-body.ts} says. */
async function openPgpSealing(
  key: OpenPgpEncryptionKey,
  content: AsyncIterable<Uint8Array>,
  contentOctets: number,
  { openPgp }: MailSecrets,
): Promise<Sealing> {
  const secrets = openPgp()
  const recipient = { kind: "curve25519", key } as const
  const sessionKeyPacket = await pkesk(recipient, secrets, 1)
  const options = { contentOctets, recipients: [recipient], secrets, seipd: 1 } as const
  return {
    envelope: sealEnvelope(openPgpMessage(content, options), { encryption: null }, "json-b"),
    stated: ({ payloadDigest, payloadOctets }) => ({
      payloadDigest,
      payloadOctets,
      recipientsDigest: openPgpRecipientsDigest(sessionKeyPacket),
      cms: null,
      openPgp: { fingerprint: key.fingerprint },
      contentKey: secrets.sessionKey,
    }),
  }
}
