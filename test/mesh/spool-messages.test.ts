import { describe, expect, test } from "vitest"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { type Writable, writeJson, writeJsonB } from "../../src/crypto/jsonb/write.ts"
import { readObject } from "../../src/mesh/object.ts"
import { saltedPin } from "../../src/mesh/pin.ts"
import {
  type MessagePin,
  messageCompleteIn,
  messageCompleteMembers,
  messagePinIn,
  messagePinMembers,
  requestConfirmationIn,
  requestConfirmationMembers,
  responseConfirmationIn,
  responseConfirmationMembers,
} from "../../src/mesh/spool-messages.ts"
import { publishedEnvelope } from "./published.ts"

const invalid = expect.objectContaining({ code: "MESH_OBJECT_INVALID" })
const MESSAGE_ID = "NAZG-5KBV-D32X-O24L-XTYS-26GV-FC6Z"
const published = publishedEnvelope("signed-RequestConfirmation-30")

/** An object as somebody else reads it. */
function passed<T extends string>(type: T, members: { readonly [name: string]: Writable | undefined }) {
  return readObject(writeJsonB({ [type]: members }), [type])
}

const pin: MessagePin = {
  account: "alice@example.com",
  expires: new Date("2026-12-01T10:00:00Z"),
  automatic: true,
  salted: saltedPin("ADE7-4VMG-Q2MG-IDHU-3XKI-ZPEU-AE", "Contact"),
  action: "Contact",
  roles: ["message"],
}

describe("messages of spools", () => {
  test("a published question is read", () => {
    const object = readObject(readEnvelope(published).payload, ["RequestConfirmation"])
    const question = requestConfirmationIn(object)
    expect(question).toEqual({
      messageId: MESSAGE_ID,
      sender: "console@example.com",
      recipient: "alice@example.com",
      text: "start",
    })
    expect(requestConfirmationIn(passed("RequestConfirmation", requestConfirmationMembers(question)))).toEqual(question)
  })

  test("the answer carries the question as it was received, octet for octet", () => {
    const answer = {
      messageId: MESSAGE_ID,
      sender: "alice@example.com",
      recipient: "console@example.com",
      accept: false,
      request: published,
    }
    const members = responseConfirmationMembers(answer)
    for (const octets of [
      writeJson({ ResponseConfirmation: members }),
      writeJsonB({ ResponseConfirmation: members }),
    ]) {
      const read = responseConfirmationIn(readObject(octets, ["ResponseConfirmation"]))
      expect(Buffer.compare(read.request, published)).toBe(0)
      expect(read.accept).toBe(false)
    }
  })

  test("a PIN is read as it was written, and is known by no other name than its own", () => {
    expect(messagePinIn(passed("MessagePin", messagePinMembers(pin)))).toEqual(pin)
    const renamed = { ...messagePinMembers(pin), MessageId: MESSAGE_ID }
    expect(() => messagePinIn(passed("MessagePin", renamed))).toThrow(invalid)
    expect(() => messagePinIn(passed("MessagePin", { ...messagePinMembers(pin), Action: "Group" }))).toThrow(invalid)
  })

  test("what became of messages is read as it was written, and no more than a message can have", () => {
    const one = { messageId: MESSAGE_ID, responseId: null, relationship: "Closed" }
    const complete = { messageId: MESSAGE_ID, references: [one, { ...one, responseId: "MAAA" }] }
    expect(messageCompleteIn(passed("MessageComplete", messageCompleteMembers(complete)))).toEqual(complete)
    const many = { ...complete, references: Array(257).fill(one) }
    expect(() => messageCompleteIn(passed("MessageComplete", messageCompleteMembers(many)))).toThrow(invalid)
  })

  test.each(["MessagePin", "MessageComplete", "RequestConfirmation", "ResponseConfirmation"] as const)(
    "an empty %s is none",
    (type) => {
      const readers = {
        MessagePin: messagePinIn,
        MessageComplete: messageCompleteIn,
        RequestConfirmation: requestConfirmationIn,
        ResponseConfirmation: responseConfirmationIn,
      }
      expect(() => readers[type](passed(type, {}) as never)).toThrow(invalid)
    },
  )
})
