import { parseAddress } from "../../../src/message/address.ts"
import type { NewEntry } from "../../../src/store/spool.ts"

/** A message of one of our people, with all that can be said of it. */
export function newEntry(): NewEntry {
  return {
    envelope: {
      sender: parseAddress('"odd name"@example.test'),
      recipients: [
        {
          address: parseAddress("Bob@example.test"),
          notify: ["FAILURE", "DELAY"],
          originalRecipient: "rfc822;bob@example.test",
        },
        { address: parseAddress("bücher@bücher.test"), notify: null, originalRecipient: null },
      ],
      smtpUtf8: true,
      requireTls: true,
      envelopeId: "envelope-canary",
      returnContent: "HDRS",
    },
    origin: {
      kind: "submission",
      account: "alice@example.test",
      device: "phone",
      remote: "::1",
      helo: "client",
      tls: true,
    },
    received: "Received: from client\r\n by gateway\r\n",
    receivedAt: new Date("2026-01-02T03:04:05.678Z"),
  }
}
