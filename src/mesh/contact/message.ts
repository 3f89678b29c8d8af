/** PURE */
import { type JsonValue, memberOf, octetsOf, textOf } from "../../crypto/jsonb/value.ts"
import { verbatim, type Writable } from "../../crypto/jsonb/write.ts"
import { envelopedIn } from "../enveloped.ts"
import { MAX_MESSAGE_OCTETS } from "../mail/statement.ts"
import { envelopeIdOf } from "../message-id.ts"
import { flagOf, invalid, requiredMember, timeOf, writeTime } from "../object.ts"
import { readSigned, type SignedObject, signObject } from "../signed.ts"
import type { SpeakingFor } from "../speaker.ts"

/*
 * MessageContact (draft-hallambaker-mesh-schema): somebody asks to be let in, or answers who asked. The drafts have MessageId, Sender, Recipient, Reply, Subject,
 * PIN, AuthenticatedData (a ContactPerson), ClientNonce, PinId and PinWitness. Text, RecipientUdf, Date, Connection and Introduction are Postern's own
 * (docs/MESH.md, "Contacts"): what is asked of whom has to be signed, and the draft's members do not say it.
 */

/** What a contact message says. */
export interface ContactStatement {
  /** A nonce; of an answer, what `responseIdOf` makes of the request's. */
  readonly messageId: string
  readonly sender: string
  readonly recipient: string
  readonly recipientUdf: string
  readonly date: Date
  /** Whether an answer is asked for. */
  readonly reply: boolean
  /** What the sender writes to the recipient; empty in an answer. */
  readonly text: string
  /** What an answer has to show that it knows; null: none is asked for. */
  readonly pin: string | null
  /** What an answer shows; null: it is none. */
  readonly proof: PinProof | null
  /** ContactPerson, in its envelope. */
  readonly contact: Uint8Array
  /** ConnectionDevice of the device that signs; null: it is the account's own key. */
  readonly connection: Uint8Array | null
  /** {@link file://./introduction.ts}; null: nobody introduces the sender. */
  readonly introduction: Uint8Array | null
}

/** That the sender knows a PIN, without showing it ({@link file://../pin.ts}). */
export interface PinProof {
  readonly pinId: string
  /** 16 octets. */
  readonly nonce: Uint8Array
  /** 64 octets. */
  readonly witness: Uint8Array
}

/** A message that has been read. Nobody has looked at its signatures: what it says is what somebody claims. */
export interface ClaimedContact {
  readonly statement: ContactStatement
  readonly object: SignedObject
  /** Made of the MessageId inside. */
  readonly envelopeId: string
}

/** @throws GatewayError MESH_OBJECT_INVALID, UDF_MALFORMED; as `readSigned` */
export function readContactMessage(message: Uint8Array): ClaimedContact {
  if (message.length > MAX_MESSAGE_OCTETS) throw invalid(`message has over ${MAX_MESSAGE_OCTETS} octets`)
  const object = readSigned(message, ["MessageContact"])
  const statement = statementOf(object)
  return { statement, object, envelopeId: envelopeIdOf(statement.messageId) }
}

/** Writes what {@link readContactMessage} reads, signed by whoever speaks for the sender. */
export function writeContactMessage(statement: Omit<ContactStatement, "connection">, speaker: SpeakingFor): Uint8Array {
  const { messageId, date, proof } = statement
  const members = {
    MessageId: messageId,
    Sender: statement.sender,
    Recipient: statement.recipient,
    RecipientUdf: statement.recipientUdf,
    Date: writeTime(date),
    Reply: statement.reply,
    Text: statement.text === "" ? undefined : statement.text,
    PIN: statement.pin ?? undefined,
    PinId: proof?.pinId,
    ClientNonce: proof?.nonce,
    PinWitness: proof?.witness,
    AuthenticatedData: verbatim(statement.contact),
    Connection: nested(speaker.connection),
    Introduction: nested(statement.introduction),
  }
  const labels = { envelopeId: envelopeIdOf(messageId), uniqueId: messageId, created: date }
  return signObject("MessageContact", members, [speaker.signer], labels, "json-b")
}

function statementOf({ members, octets }: SignedObject): ContactStatement {
  const text = (name: string) => requiredMember(members, name, textOf)
  const envelope = (value: JsonValue, what: string) => envelopedIn(octets, value, what)
  return {
    messageId: text("MessageId"),
    sender: text("Sender"),
    recipient: text("Recipient"),
    recipientUdf: text("RecipientUdf"),
    date: requiredMember(members, "Date", timeOf),
    reply: memberOf(members, "Reply", flagOf) ?? false,
    text: memberOf(members, "Text", textOf) ?? "",
    pin: memberOf(members, "PIN", textOf),
    proof: members.members.has("PinWitness") ? proofOf(members) : null,
    contact: requiredMember(members, "AuthenticatedData", envelope),
    connection: memberOf(members, "Connection", envelope),
    introduction: memberOf(members, "Introduction", envelope),
  }
}

function proofOf(members: SignedObject["members"]): PinProof {
  const nonce = requiredMember(members, "ClientNonce", octetsOf)
  const witness = requiredMember(members, "PinWitness", octetsOf)
  if (nonce.length !== NONCE_OCTETS || witness.length !== WITNESS_OCTETS) throw invalid("PinWitness is none")
  return { pinId: requiredMember(members, "PinId", textOf), nonce, witness }
}

function nested(envelope: Uint8Array | null): Writable | undefined {
  return envelope === null ? undefined : verbatim(envelope)
}

/** As the drafts have it. */
export const NONCE_OCTETS = 16
const WITNESS_OCTETS = 64
