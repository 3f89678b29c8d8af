import type { CmsRecipient } from "../../crypto/cms/recipient.ts"
import type { Signer } from "../../crypto/dare/signature.ts"
import type { OpenPgpEncryptionKey } from "../../crypto/openpgp/certificate.ts"
import type { MailProfile } from "../../identity/mail-profile.ts"
import type { PublishMail } from "../../mesh/mail/seal.ts"
import type { MailRecipient } from "../../mesh/mail/sealing.ts"
import type { MailStatement } from "../../mesh/mail/statement.ts"
import type { Profile, ProfileUser } from "../../mesh/profile.ts"
import type { SignedObject } from "../../mesh/signed.ts"
import type { BegunMail } from "../../store/mesh-mail.ts"
import type { NewEntry } from "../../store/spool.ts"

/** An account of ours that sends over the Mesh, and what signs for it. */
export interface MeshSender {
  readonly profile: ProfileUser
  /** This gateway's device in the account. */
  readonly device: { readonly signer: Signer; readonly connection: Uint8Array }
}

/** Our service, which signs what it sends. */
export interface SendingService {
  readonly profile: Profile
  readonly signer: Signer
  /** Where it publishes what is longer than a message. */
  readonly domain: string
}

/** Somebody who is written to elsewhere. */
export interface MeshRoute extends MailRecipient {
  /** Of the service that takes mail for him. */
  readonly service: { readonly address: URL; readonly udf: string }
}

/** What became of a message that was posted. */
export type Posting =
  | { readonly kind: "accepted"; readonly diagnostic: string }
  /** By the service, which has signed it: it will say the same tomorrow. */
  | { readonly kind: "refused"; readonly diagnostic: string }
  /** By the service, which has signed that the account is not with it: what we know of the recipient is over. */
  | { readonly kind: "unknown"; readonly diagnostic: string }
  | { readonly kind: "later"; readonly diagnostic: string }

/** A published mail. */
export interface PublishedMail {
  /**
   * The envelope from its beginning, as often as wanted; nobody has verified it. What is not here yet is fetched while it is read, and kept; read `once` it is
   * only where that takes long.
   * @throws GatewayError MESH_LATER, MESH_MISSING, MESH_GONE
   */
  content(reading?: "once"): AsyncIterable<Uint8Array>
  /** It has been stored, or is not what it should be: the next fetch begins anew. */
  discard(): Promise<void>
}

/** The Mesh, as attempts at delivery know it. */
export interface MeshMail {
  readonly service: SendingService
  /** Verifies a mail profile. @throws GatewayError as `verifyMailProfile` */
  profileIn(octets: Uint8Array): MailProfile
  /** @returns null: the account has no part in the Mesh */
  senderOf(account: string): MeshSender | null
  /** One of our people. @returns null as {@link senderOf} */
  recipientOf(account: string): MailRecipient | null
  /** Certificates, old ones included, that the account's devices read S/MIME by; none: they read OpenPGP. */
  certificatesOf(account: string): readonly CmsRecipient[]
  /** Encryption keys, old ones included, that the account's devices read OpenPGP by; none: they read S/MIME. */
  openPgpKeysOf(account: string): readonly OpenPgpEncryptionKey[]
  readonly publish: PublishMail
  /** Nobody will come for what was published under this name. */
  withdraw(name: string): Promise<void>
  published(statement: MailStatement, signal: AbortSignal): Promise<PublishedMail>
  post(message: Uint8Array, route: MeshRoute, signal: AbortSignal): Promise<Posting>
}

/** A message that another service has posted, see `mesh-in/ports.ts`. */
export interface PostedMail {
  readonly account: { readonly address: string; readonly profile: ProfileUser }
  readonly object: SignedObject
  readonly peer: Profile
  readonly now: Date
}

/** What the service that posts is answered. */
export type MailReceipt =
  | { readonly kind: "accepted"; readonly remember?: Remember }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "later" }

/** Whom we know as a sender. */
export interface KnownSender {
  /** Our own copy, or one that was verified and vouched for. */
  readonly profile: ProfileUser
  /** UDF of the one device that sends for the account as a gateway; null: none is published, and none may. */
  readonly gatewayDevice: string | null
}

/** Who says that he has written. */
export interface ClaimedSender {
  readonly address: string
  readonly udf: string
}

/** Who may send mail to whom, and whom we know. */
export interface MeshSenders {
  /** Asked before anybody is looked up: whoever he says that he is has to be so, or the mail is refused later. */
  admits(recipient: string, sender: ClaimedSender): boolean
  /**
   * @returns null: nobody vouches for a profile of this name at this address
   * @throws GatewayError KEY_SOURCE_SILENT
   */
  find(address: string, udf: string, asked: AskedWhen): Promise<KnownSender | null>
}

/** What was said before will do, or everybody is asked again. */
export type AskedWhen = "before" | "anew"

/** What is remembered of mail that came, so that none comes twice. */
export interface MailIdentity {
  /** UDF of the recipient's profile. */
  readonly recipient: string
  readonly messageId: string
  /** SHA-512 of the message. */
  readonly digest: Uint8Array
  /** UDF of the sender's profile. */
  readonly sender: string
  readonly salt: Uint8Array
  readonly payloadDigest: Uint8Array
}

export interface SeenMail {
  look(mail: MailIdentity): "new" | "accepted" | BegunMail | "other message" | "other text"
}

/** A mail that is to be kept. */
export interface ArrivedMail {
  /** That of the message in the spool: the same id twice is one message. */
  readonly id: string
  readonly entry: NewEntry
  /** The envelope as it came. */
  readonly message: Uint8Array
  readonly mail: MailIdentity
  /** All of it is here. */
  readonly isEnclosed: boolean
  /** Somebody has begun with it already; null: nobody has. */
  readonly begun: BegunMail | null
}

/** Keeps a mail: it is where it belongs, or accepted for delivery, and durable, when this says so. */
export type KeepMail = (arrived: ArrivedMail) => Promise<MailReceipt>

/** Remembers a message that is kept. Nobody may be told that it was accepted before; who is not told sends it again, and it is the same one. */
export type Remember = () => Promise<void>
