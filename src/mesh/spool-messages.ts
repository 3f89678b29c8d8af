/** PURE */
import { itemsOf, type JsonValue, memberOf, objectOf, textOf } from "../crypto/jsonb/value.ts"
import { verbatim, type Writable } from "../crypto/jsonb/write.ts"
import { envelopedIn } from "./enveloped.ts"
import { flagOf, invalid, type MeshObject, requiredMember, timeOf, writeTime } from "./object.ts"
import { type PinAction, pinId } from "./pin.ts"

/*
 * Messages between devices of an account, and questions to a person (draft-hallambaker-mesh-schema, "Messages"). Who has signed them, and who may, is for the
 * caller to ask: {@link file://./speaker.ts}.
 */

/** A PIN that an account has given out, kept in its Local spool: from it whoever shows a proof is recognised. */
export interface MessagePin {
  readonly account: string
  readonly expires: Date
  /** Whoever shows it is let in without asking the person again. */
  readonly automatic: boolean
  readonly salted: string
  readonly action: PinAction
  readonly roles: readonly string[]
}

/** @throws GatewayError MESH_OBJECT_INVALID, also where its MessageId is of another PIN; JSONB_TYPE, UDF_MALFORMED */
export function messagePinIn({ members }: MeshObject<"MessagePin">): MessagePin {
  const text = (name: string) => requiredMember(members, name, textOf)
  const action = text("Action")
  if (action !== "Contact" && action !== "Device") throw invalid("Action is none that a PIN is for")
  const [account, salted] = [text("Account"), text("SaltedPin")]
  if (text("MessageId") !== pinId(salted, account)) throw invalid("MessageId is of another PIN")
  return {
    account,
    expires: requiredMember(members, "Expires", timeOf),
    automatic: memberOf(members, "Automatic", flagOf) ?? false,
    salted,
    action,
    roles: listed(memberOf(members, "Roles", itemsOf) ?? [], "Roles").map((role) => textOf(role, "Roles")),
  }
}

/** The members of the object MessagePin. */
export function messagePinMembers({ account, expires, automatic, salted, action, roles }: MessagePin) {
  return {
    MessageId: pinId(salted, account),
    Account: account,
    Expires: writeTime(expires),
    Automatic: automatic,
    SaltedPin: salted,
    Action: action,
    Roles: roles,
  } satisfies Members
}

/** What became of messages of a spool: it is only ever added to. */
export interface MessageComplete {
  readonly messageId: string
  readonly references: readonly MessageReference[]
}

export interface MessageReference {
  readonly messageId: string
  /** Of the message that answers it; null: none does. */
  readonly responseId: string | null
  /** The state that it has from now on: "Read", "Closed" and so on. */
  readonly relationship: string
}

/** @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function messageCompleteIn({ members }: MeshObject<"MessageComplete">): MessageComplete {
  const references = listed(requiredMember(members, "References", itemsOf), "References").map((item) => {
    const reference = objectOf(item, "References")
    return {
      messageId: requiredMember(reference, "MessageId", textOf),
      responseId: memberOf(reference, "ResponseId", textOf),
      relationship: requiredMember(reference, "Relationship", textOf),
    }
  })
  return { messageId: requiredMember(members, "MessageId", textOf), references }
}

/** The members of the object MessageComplete. */
export function messageCompleteMembers({ messageId, references }: MessageComplete) {
  const written = references.map((one) => ({
    MessageId: one.messageId,
    ResponseId: one.responseId ?? undefined,
    Relationship: one.relationship,
  }))
  return { MessageId: messageId, References: written } satisfies Members
}

/** A question to a person. */
export interface RequestConfirmation {
  readonly messageId: string
  readonly sender: string
  readonly recipient: string
  readonly text: string
}

/** @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function requestConfirmationIn({ members }: MeshObject<"RequestConfirmation">): RequestConfirmation {
  const text = (name: string) => requiredMember(members, name, textOf)
  return { messageId: text("MessageId"), sender: text("Sender"), recipient: text("Recipient"), text: text("Text") }
}

/** The members of the object RequestConfirmation. */
export function requestConfirmationMembers({ messageId, sender, recipient, text }: RequestConfirmation) {
  return { MessageId: messageId, Sender: sender, Recipient: recipient, Text: text } satisfies Members
}

/** The answer to it, which carries the question: what was answered is what was asked. */
export interface ResponseConfirmation extends Omit<RequestConfirmation, "text"> {
  readonly accept: boolean
  /** RequestConfirmation in its envelope, as it was received. */
  readonly request: Uint8Array
}

/** @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function responseConfirmationIn({ members, octets }: MeshObject<"ResponseConfirmation">): ResponseConfirmation {
  const text = (name: string) => requiredMember(members, name, textOf)
  return {
    messageId: text("MessageId"),
    sender: text("Sender"),
    recipient: text("Recipient"),
    accept: requiredMember(members, "Accept", flagOf),
    request: requiredMember(members, "Request", (value, what) => envelopedIn(octets, value, what)),
  }
}

/** The members of the object ResponseConfirmation. */
export function responseConfirmationMembers(response: ResponseConfirmation) {
  const { messageId, sender, recipient, accept, request } = response
  return {
    MessageId: messageId,
    Sender: sender,
    Recipient: recipient,
    Accept: accept,
    Request: verbatim(request),
  } satisfies Members
}

type Members = { readonly [name: string]: Writable | undefined }

function listed(items: readonly JsonValue[], what: string): readonly JsonValue[] {
  if (items.length > MAX_LISTED) throw invalid(`over ${MAX_LISTED} ${what}`)
  return items
}

/** A message has 32 KiB; a reference has some hundred octets. */
const MAX_LISTED = 256
