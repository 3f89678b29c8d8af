/** PURE */
import { SECOND_ENVELOPE_OCTETS, type SecondEnvelope } from "../../crypto/cms/second-envelope.ts"
import { countOf, type JsonValue, memberOf, objectOf, octetsOf, textOf } from "../../crypto/jsonb/value.ts"
import type { Writable } from "../../crypto/jsonb/write.ts"
import { parseUdfUri, printUdfUri, type UdfUri } from "../../crypto/udf/uri.ts"
import { envelopeIdOf } from "../message-id.ts"
import { invalid, type MeshObject, requiredMember, timeOf, typeAmong, writeTime } from "../object.ts"
import { readAnySigned, type SignedObject } from "../signed.ts"

/*
 * A mail as a message of the Mesh. The drafts have `MessageMail { Text }` as a placeholder; everything below is Postern's own (docs/MESH.md, "Mail").
 * DARE's signatures cover the payload of an envelope and nothing of its header. So the mail is in an envelope of its own, encrypted, and what is signed is this
 * statement, which says everything about that envelope on which somebody relies.
 */

/** What the sender states, and signs, about one mail to one recipient. */
export interface MailStatement {
  /** A nonce; not the Message-ID, which only the recipient sees. */
  readonly messageId: string
  readonly sender: string
  readonly recipient: string
  readonly senderUdf: string
  readonly recipientUdf: string
  /** The service that sends it, and signs, too. */
  readonly serviceUdf: string
  readonly date: Date
  /** The envelope's; with OpenPGP 16 octets that stand nowhere else. */
  readonly salt: Uint8Array
  /** SHA-512 of the ciphertext. */
  readonly payloadDigest: Uint8Array
  readonly payloadOctets: number
  /** SHA-512 of the envelope's `recipients`, as they stand in its header; with OpenPGP of the session key packet. */
  readonly recipientsDigest: Uint8Array
  /** {@link file://./binding.ts}. */
  readonly binding: Uint8Array
  /** For the recipient's S/MIME certificate; null when he has none. */
  readonly cms: SecondEnvelope | null
  /**
   * The recipient reads with OpenPGP alone: the payload is an OpenPGP message to this encryption key of his (20 octets), and nothing else is encrypted
   * ({@link file://./openpgp-body.ts}); null: it is encrypted as DARE has it.
   */
  readonly openPgp: { readonly fingerprint: Uint8Array } | null
  /** Header fields that may stand outside the encryption, as their sender shows them ({@link file://./shown.ts}); null: none but what is stated. */
  readonly shown: Uint8Array | null
  readonly body: MailBody
  /** The ConnectionDevice of the device that signs. */
  readonly connection: Uint8Array
}

/** The encrypted mail itself: within the message; or where it is to be had, which opens nothing. */
export type MailBody =
  | { readonly kind: "enclosed"; readonly envelope: Uint8Array }
  | { readonly kind: "published"; readonly locator: Extract<UdfUri, { kind: "locator" }> }

/** Octets of a message of the Mesh at most, its envelope included (draft-hallambaker-mesh-architecture). What is longer is published. */
export const MAX_MESSAGE_OCTETS = 32_768

/** A message that has been read. Nobody has looked at its signatures: what it says is what somebody claims. */
export interface ClaimedMail {
  readonly statement: MailStatement
  readonly object: SignedObject
  /** Made of the MessageId inside; what the envelope's header says is not signed. */
  readonly envelopeId: string
}

/**
 * Reads a message, to find out whose profiles it takes to check it ({@link file://./check.ts}).
 * @throws GatewayError MESH_OBJECT_INVALID, UDF_MALFORMED; as `readAnySigned`
 */
export function readMail(message: Uint8Array): ClaimedMail {
  return mailIn(readAnySigned(message))
}

/** The same of a message that has been read as an object. @throws GatewayError MESH_OBJECT_INVALID, UDF_MALFORMED */
export function mailIn(object: SignedObject): ClaimedMail {
  if (object.envelope.length > MAX_MESSAGE_OCTETS) throw invalid(`message has over ${MAX_MESSAGE_OCTETS} octets`)
  typeAmong(object, ["MessageMail"])
  const statement = statementOf(object)
  return { statement, object, envelopeId: envelopeIdOf(statement.messageId) }
}

/** The members of the object MessageMail. */
export function statementMembers(statement: MailStatement): { readonly [name: string]: Writable | undefined } {
  const { cms, openPgp, body } = statement
  return {
    MessageId: statement.messageId,
    Sender: statement.sender,
    Recipient: statement.recipient,
    SenderUdf: statement.senderUdf,
    RecipientUdf: statement.recipientUdf,
    ServiceUdf: statement.serviceUdf,
    Date: writeTime(statement.date),
    enc: openPgp === null ? CIPHER : OPENPGP,
    Salt: statement.salt,
    PayloadDigest: statement.payloadDigest,
    Length: statement.payloadOctets,
    RecipientsDigest: statement.recipientsDigest,
    Binding: statement.binding,
    cms: cms === null ? undefined : { ...cms },
    pgp: openPgp === null ? undefined : { ...openPgp },
    Shown: statement.shown ?? undefined,
    Envelope: body.kind === "enclosed" ? body.envelope : undefined,
    Locator: body.kind === "published" ? printUdfUri(body.locator) : undefined,
    Connection: statement.connection,
  }
}

function statementOf({ members }: MeshObject): MailStatement {
  const text = (name: string) => requiredMember(members, name, textOf)
  const octets = (name: string, count: number) => requiredMember(members, name, exactly(count))
  const [cms, openPgp] = [memberOf(members, "cms", secondEnvelopeOf), memberOf(members, "pgp", openPgpOf)]
  if (text("enc") !== (openPgp === null ? CIPHER : OPENPGP)) throw invalid("mail has another cipher")
  if (cms !== null && openPgp !== null) throw invalid("mail is for S/MIME and OpenPGP")
  return {
    messageId: text("MessageId"),
    sender: text("Sender"),
    recipient: text("Recipient"),
    senderUdf: text("SenderUdf"),
    recipientUdf: text("RecipientUdf"),
    serviceUdf: text("ServiceUdf"),
    date: requiredMember(members, "Date", timeOf),
    salt: octets("Salt", 16),
    payloadDigest: octets("PayloadDigest", 64),
    payloadOctets: requiredMember(members, "Length", countOf),
    recipientsDigest: octets("RecipientsDigest", 64),
    binding: octets("Binding", 32),
    cms,
    openPgp,
    shown: memberOf(members, "Shown", octetsOf),
    body: bodyOf(members),
    connection: requiredMember(members, "Connection", octetsOf),
  }
}

function bodyOf(members: MeshObject["members"]): MailBody {
  const envelope = memberOf(members, "Envelope", octetsOf)
  const locator = memberOf(members, "Locator", textOf)
  if ((envelope === null) === (locator === null)) throw invalid("mail is neither enclosed nor published, or both")
  if (envelope !== null) return { kind: "enclosed", envelope }
  const uri = parseUdfUri(locator ?? "")
  if (uri.kind !== "locator" || uri.udf.kind !== "key") throw invalid("mail is published under no locator")
  return { kind: "published", locator: uri }
}

/** Fields of fixed length and no DER: of what else somebody writes there nothing is ever looked at. */
function secondEnvelopeOf(value: JsonValue, what: string): SecondEnvelope {
  const object = objectOf(value, what)
  const octets = (name: keyof typeof SECOND_ENVELOPE_OCTETS) =>
    requiredMember(object, name, exactly(SECOND_ENVELOPE_OCTETS[name]))
  const kdf = requiredMember(object, "kdf", textOf)
  if (kdf !== "sha256") throw invalid("cms has another kdf")
  return { kid: octets("kid"), epk: octets("epk"), kdf, wck: octets("wck"), iv: octets("iv"), commit: octets("commit") }
}

function openPgpOf(value: JsonValue, what: string): MailStatement["openPgp"] {
  return { fingerprint: requiredMember(objectOf(value, what), "fingerprint", exactly(20)) }
}

function exactly(count: number): (value: JsonValue, what: string) => Uint8Array {
  return (value, what) => {
    const octets = octetsOf(value, what)
    if (octets.length !== count) throw invalid(`${what} is not ${count} octets long`)
    return octets
  }
}

const CIPHER = "A256CBC"
const OPENPGP = "OpenPGP"
