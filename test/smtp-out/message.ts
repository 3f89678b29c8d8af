import { parseAddress } from "../../src/message/address.ts"
import type { RelayMessage } from "../../src/smtp-out/hop.ts"

/** A message to be relayed, in pieces. */
export function relayMessage(octets: string | Uint8Array, more: Partial<RelayMessage> = {}): RelayMessage {
  const whole = Buffer.from(octets)
  return {
    sender: parseAddress("alice@example.test"),
    recipient: parseAddress("carol@remote.example"),
    smtpUtf8: false,
    envelopeId: null,
    returnContent: null,
    notify: null,
    originalRecipient: null,
    sizeOctets: whole.length,
    content: async function* () {
      for (let at = 0; at < whole.length; at += 1000) yield whole.subarray(at, at + 1000)
    },
    ...more,
  }
}
